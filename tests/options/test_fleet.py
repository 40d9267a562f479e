"""The port of a fleet, and which of its options go together."""

from pathlib import Path

import pytest

from exporter.options.fleet import FleetOptions


def test_the_port_and_its_rule() -> None:
    assert (FleetOptions().metrics_port, FleetOptions().port_rule) == (29010, "the default")
    options = FleetOptions(listen_port=9100)
    assert (options.metrics_port, options.port_rule) == (9100, "chosen by --listen-port")


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (FleetOptions(), ["worker"]),
        (FleetOptions(workers_file=Path("f")), []),
        (FleetOptions(worker=("http://h",), smg_api_key_file=Path("f")), ["smg_api_key_file"]),
        (FleetOptions(smg_url="http://h", smg_api_key_file=Path("f")), []),
    ],
)
def test_what_is_missing_or_contradicts(options: FleetOptions, names: list[str]) -> None:
    assert [name for name, _ in options.problems()] == names
