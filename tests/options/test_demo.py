"""The exporters of a demo, their ports, and which of its options go together."""

from pathlib import Path

import pytest

from exporter.options.demo import DemoOptions
from exporter.options.node import NodeOptions
from exporter.options.values import Directory
from exporter.options.worker import ServeOptions


def test_the_port_and_its_rule() -> None:
    options = DemoOptions()
    assert (options.metrics_port, options.port_rule) == (18001, "derived from --grpc-port 8001 (+10000)")


def test_a_demo_is_served_as_it_says() -> None:
    served = DemoOptions(ranks=4, label={"a": "1"}, listen_host=("::1",)).serving(Path("/d"))
    expected = ServeOptions(
        grpc_port=8001, multiproc_dir=(Directory("/d"),), label={"a": "1"}, listen_host=("::1",)
    )
    assert served == expected


def test_several_workers_of_a_demo_have_ports_of_their_own_and_a_node() -> None:
    demo = DemoOptions(workers=2, grpc_port=50051, listen_port=9401, label={"a": "1"})
    first, second = demo.serving(Path("/a"), 0), demo.serving(Path("/b"), 1)
    assert [(it.worker_address, it.metrics_port) for it in (first, second)] == [
        ("grpc://127.0.0.1:50051", 60051),
        ("grpc://127.0.0.1:50061", 60061),
    ]
    assert demo.node == NodeOptions(
        node_name="127.0.0.1", listen_port=9401, label={"a": "1"}, derived_ports=True
    )
    assert demo.all_metrics_url == "http://localhost:9401/metrics"
    assert demo.page_url == "http://localhost:9401/"


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (DemoOptions(workers=16, listen_host=("::1",)), []),
        (DemoOptions(worker_addr="w", web_config=Path("w")), []),
        (DemoOptions(workers=2, worker_addr="w", web_config=Path("w")), ["worker_addr"]),
        (DemoOptions(workers=2, grpc_port=65530), ["grpc_port"]),
        (DemoOptions(workers=2, per_process=True, telemetry_path="/m"), ["per_process", "telemetry_path"]),
        (DemoOptions(workers=2, grpc_host="h", label={"a": "1"}, max_requests=1), []),
        (DemoOptions(), []),
        (DemoOptions(worker_addr="w", no_worker_addr_label=True), ["worker_addr"]),
    ],
)
def test_what_is_missing_or_contradicts(options: DemoOptions, names: list[str]) -> None:
    assert [name for name, _ in options.problems()] == names
