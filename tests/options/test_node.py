"""The port of a node."""

from exporter.options.node import NodeOptions


def test_the_port_and_its_rule() -> None:
    assert (NodeOptions().metrics_port, NodeOptions().port_rule) == (29011, "the default")
    options = NodeOptions(listen_port=9100)
    assert (options.metrics_port, options.port_rule) == (9100, "chosen by --listen-port")
