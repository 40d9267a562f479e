"""What follows from the options of a worker, and which of them go together."""

from collections.abc import Mapping
from typing import Any

import pytest

from exporter.options.option import Options
from exporter.options.values import Directory, Size
from exporter.options.worker import DumpOptions, ServeOptions, VerifyOptions

SEVERAL = tuple(Directory(f"/d/{rank}", (("rank", rank),)) for rank in "01")
WORKER: Mapping[str, Any] = {"grpc_port": 8001, "multiproc_dir": (Directory("/d"),)}


@pytest.mark.parametrize(
    ("given", "labels"),
    [
        ({}, {"worker_addr": "grpc://127.0.0.1:8001"}),
        ({"grpc_host": "::1"}, {"worker_addr": "grpc://[::1]:8001"}),
        ({"worker_addr": "w", "label": {"a": "1"}}, {"worker_addr": "w", "a": "1"}),
        ({"no_worker_addr_label": True, "label": {"a": "1"}}, {"a": "1"}),
        ({"no_worker_addr_label": True}, {}),
    ],
)
def test_static_labels(given: Mapping[str, Any], labels: dict[str, str]) -> None:
    assert ServeOptions(**WORKER, **given).static_labels == labels


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ({}, "grpc://10.0.0.7:8001"),
        ({"label": {"a": "1"}}, "grpc://10.0.0.7:8001"),
        ({"grpc_host": "gpu-7"}, "grpc://gpu-7:8001"),
        ({"grpc_host": "127.0.0.1"}, "grpc://127.0.0.1:8001"),
        ({"worker_addr": "w"}, "w"),
    ],
)
def test_what_is_given_goes_before_what_is_found_even_if_it_is_the_default(
    given: Mapping[str, Any], address: str
) -> None:
    assert ServeOptions(grpc_port=8001, **given).found_address("grpc://10.0.0.7:8001") == address


@pytest.mark.parametrize(
    ("given", "ambiguous"),
    [
        ({}, True),
        ({"listen_host": ("127.0.0.1", "10.0.0.1")}, True),
        ({"listen_host": ("::1", "127.0.0.1")}, False),
        ({"grpc_host": "10.0.0.1"}, False),
        ({"worker_addr": "a worker"}, False),
        ({"no_worker_addr_label": True}, False),
    ],
)
def test_a_public_worker_with_a_loopback_address_may_be_taken_for_another(
    given: Mapping[str, Any],
    ambiguous: bool,  # noqa: FBT001 - a table's column
) -> None:
    assert (
        ServeOptions(grpc_port=8001, multiproc_dir=(Directory("/d"),), **given).has_ambiguous_address
        == ambiguous
    )


def test_without_a_port_there_is_no_label_unless_an_address_is_given() -> None:
    assert ServeOptions(listen_port=9100).static_labels == {}
    assert ServeOptions(listen_port=9100).port_rule == "chosen by --listen-port"
    assert ServeOptions(listen_port=9100, worker_addr="app").static_labels == {"worker_addr": "app"}


def test_directories_with_the_same_labels_are_one_workers() -> None:
    given = (
        Directory("/c", (("rank", "1"), ("zone", "a"))),
        Directory("/a", (("rank", "0"), ("zone", "a"))),
        Directory("/b", (("zone", "a"), ("rank", "1"))),
    )
    assert ServeOptions(multiproc_dir=given).workers == {
        (("rank", "0"), ("zone", "a")): ["/a"],
        (("rank", "1"), ("zone", "a")): ["/c", "/b"],
    }


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (ServeOptions(), ["grpc_port"]),
        (ServeOptions(listen_port=1), ["multiproc_dir"]),
        (ServeOptions(grpc_port=8001), []),
        (ServeOptions(**WORKER), []),
        (ServeOptions(**WORKER, worker_addr="w", no_worker_addr_label=True), ["worker_addr"]),
        (ServeOptions(**WORKER, collector="stock"), []),
        (ServeOptions(**WORKER, collector="stock", per_process=True), ["per_process"]),
        (
            ServeOptions(**WORKER, collector="stock", max_file_size=Size(1), when_worker_down="keep-gauges"),
            ["max_file_size"],
        ),
        (
            DumpOptions(
                multiproc_dir=(Directory("/d"),), worker_addr="w", collector="stock", per_process=True
            ),
            ["per_process"],
        ),
        (DumpOptions(), ["multiproc_dir"]),
        (DumpOptions(multiproc_dir=SEVERAL), []),
        (DumpOptions(multiproc_dir=SEVERAL, collector="stock"), []),
        (DumpOptions(multiproc_dir=SEVERAL, label={"rank": "7"}), ["multiproc_dir"]),
        (DumpOptions(multiproc_dir=(*SEVERAL, Directory("/d"))), ["multiproc_dir"]),
        (DumpOptions(multiproc_dir=(Directory("/d/*"),), collector="stock"), ["collector"]),
        (DumpOptions(multiproc_dir=(Directory("/d"), Directory("/e")), collector="stock"), ["collector"]),
        (VerifyOptions(), ["multiproc_dir"]),
        (ServeOptions(**WORKER, also=("http://127.0.0.1:9100/metrics", "http://localhost/metrics")), []),
        (
            ServeOptions(**WORKER, grpc_host="h", also=("https://h:9100/metrics", "http://[::1]:1/metrics")),
            [],
        ),
        (ServeOptions(**WORKER, also=("http://10.0.0.1:9100/metrics",)), ["also"]),
        (ServeOptions(**WORKER, also=2 * ("http://127.0.0.1:9100/metrics",)), ["also", "also"]),
        (ServeOptions(**WORKER, listen_port=9400, also=("http://127.0.0.1:9400/metrics",)), ["also"]),
    ],
)
def test_what_is_missing_or_contradicts(options: Options, names: list[str]) -> None:
    assert [name for name, _ in options.problems()] == names
