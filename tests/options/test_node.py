"""The port of a node, and which of its options go together."""

from pathlib import Path

import pytest

from exporter.options.node import NodeOptions


def test_the_port_and_its_rule() -> None:
    assert (NodeOptions().metrics_port, NodeOptions().port_rule) == (29011, "the default of node")
    options = NodeOptions(listen_port=9100)
    assert (options.metrics_port, options.port_rule) == (9100, "chosen by --listen-port")


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (NodeOptions(derived_ports=True), []),
        (NodeOptions(derived_ports=True, web_config=Path("w")), ["derived_ports"]),
    ],
)
def test_what_is_missing_or_contradicts(options: NodeOptions, names: list[str]) -> None:
    assert [name for name, _ in options.problems()] == names
