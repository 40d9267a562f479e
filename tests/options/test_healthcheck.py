"""Which exporter is asked."""

from collections.abc import Mapping
from typing import Any

import pytest

from exporter.options.healthcheck import HealthcheckOptions


@pytest.mark.parametrize(
    ("given", "port"), [({}, 29010), ({"grpc_port": 8001}, 18001), ({"listen_port": 9}, 9)]
)
def test_the_port_to_ask_is_a_workers_where_there_is_one(given: Mapping[str, Any], port: int) -> None:
    assert HealthcheckOptions(**given).metrics_port == port
