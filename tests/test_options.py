"""What follows from options, which ones go together, and what is said of them."""

import pickle
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from exporter.errors import SettingsError
from exporter.options import (
    ALL,
    GROUPS,
    DemoOptions,
    DumpOptions,
    FleetOptions,
    HealthcheckOptions,
    NodeOptions,
    Options,
    ServeOptions,
    TopOptions,
    VerifyOptions,
    described,
    flag,
    no_such_option,
)
from exporter.values import Directory, Size

SEVERAL = tuple(Directory(f"/d/{rank}", (("rank", rank),)) for rank in "01")
WORKER: Mapping[str, Any] = {"grpc_port": 8001, "multiproc_dir": (Directory("/d"),)}
EVERY = (
    ServeOptions,
    DemoOptions,
    DumpOptions,
    VerifyOptions,
    FleetOptions,
    NodeOptions,
    HealthcheckOptions,
    TopOptions,
)


# --- What follows from the values ---


@pytest.mark.parametrize(
    ("options", "port", "rule"),
    [
        (ServeOptions(grpc_port=8001), 18001, "derived from --grpc-port 8001 (+10000)"),
        (ServeOptions(grpc_port=60051), 50051, "derived from --grpc-port 60051 (-10000)"),
        (ServeOptions(grpc_port=8001, listen_port=9100), 9100, "chosen by --listen-port"),
        (DemoOptions(), 18001, "derived from --grpc-port 8001 (+10000)"),
        (FleetOptions(), 29010, "the default of fleet"),
        (FleetOptions(listen_port=9100), 9100, "chosen by --listen-port"),
    ],
)
def test_the_port_and_its_rule(options: ServeOptions | FleetOptions, port: int, rule: str) -> None:
    assert (options.metrics_port, options.port_rule) == (port, rule)


@pytest.mark.parametrize(
    ("given", "port"), [({}, 29010), ({"grpc_port": 8001}, 18001), ({"listen_port": 9}, 9)]
)
def test_the_port_to_ask_is_a_workers_where_there_is_one(given: Mapping[str, Any], port: int) -> None:
    assert HealthcheckOptions(**given).metrics_port == port


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


def test_what_is_derived_from_nothing_says_so() -> None:
    with pytest.raises(SettingsError, match=r"--grpc-port: required; .*; or give --listen-port"):
        _ = ServeOptions().metrics_port


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


def test_a_demo_is_served_as_it_says() -> None:
    served = DemoOptions(ranks=4, label={"a": "1"}, listen_host=("::1",)).serving(Path("/d"))
    expected = ServeOptions(
        grpc_port=8001, multiproc_dir=(Directory("/d"),), label={"a": "1"}, listen_host=("::1",)
    )
    assert served == expected


def test_several_workers_of_a_demo_have_ports_of_their_own_and_a_fleet() -> None:
    demo = DemoOptions(workers=2, grpc_port=50051, listen_port=9401, label={"a": "1"}, telemetry_path="/m")
    first, second = demo.serving(Path("/a"), 0), demo.serving(Path("/b"), 1)
    assert [(it.worker_address, it.metrics_port) for it in (first, second)] == [
        ("grpc://127.0.0.1:50051", 60051),
        ("grpc://127.0.0.1:50061", 60061),
    ]
    assert demo.fleet.metrics_port == 9401
    assert demo.fleet.worker == (
        "grpc://127.0.0.1:50051=http://localhost:60051/m",
        "grpc://127.0.0.1:50061=http://localhost:60061/m",
    )
    assert (first.label, demo.fleet.label) == ({"a": "1"}, {}), "a label is added once"


@pytest.mark.parametrize(
    ("size", "text"),
    [(256 << 20, "256MiB"), (1 << 30, "1GiB"), (1023, "1023B"), (1536, "1536B"), (1 << 50, "1024TiB")],
)
def test_a_size_is_shown_as_it_is_written(size: int, text: str) -> None:
    assert str(Size(size)) == text


# --- What goes together ---


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (ServeOptions(), ["grpc_port"]),
        (ServeOptions(listen_port=1), ["multiproc_dir"]),
        (ServeOptions(grpc_port=8001), []),
        (ServeOptions(**WORKER), []),
        (DemoOptions(workers=16, listen_host=("::1",)), []),
        (DemoOptions(worker_addr="w", web_config=Path("w")), []),
        (DemoOptions(workers=2, worker_addr="w", web_config=Path("w")), ["worker_addr", "web_config"]),
        (DemoOptions(workers=2, grpc_port=65530), ["grpc_port"]),
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
        (DemoOptions(), []),
        (DemoOptions(worker_addr="w", no_worker_addr_label=True), ["worker_addr"]),
        (DumpOptions(), ["multiproc_dir"]),
        (DumpOptions(multiproc_dir=SEVERAL), []),
        (DumpOptions(multiproc_dir=SEVERAL, collector="stock"), []),
        (DumpOptions(multiproc_dir=SEVERAL, label={"rank": "7"}), ["multiproc_dir"]),
        (DumpOptions(multiproc_dir=(*SEVERAL, Directory("/d"))), ["multiproc_dir"]),
        (DumpOptions(multiproc_dir=(Directory("/d/*"),), collector="stock"), ["collector"]),
        (DumpOptions(multiproc_dir=(Directory("/d"), Directory("/e")), collector="stock"), ["collector"]),
        (VerifyOptions(), ["multiproc_dir"]),
        (FleetOptions(), ["worker"]),
        (FleetOptions(workers_file=Path("f")), []),
        (FleetOptions(worker=("http://h",), smg_api_key_file=Path("f")), ["smg_api_key_file"]),
        (FleetOptions(smg_url="http://h", smg_api_key_file=Path("f")), []),
        (ServeOptions(**WORKER, also=("http://127.0.0.1:9100/metrics", "http://localhost/metrics")), []),
        (
            ServeOptions(**WORKER, grpc_host="h", also=("https://h:9100/metrics", "http://[::1]:1/metrics")),
            [],
        ),
        (ServeOptions(**WORKER, also=("http://10.0.0.1:9100/metrics",)), ["also"]),
        (ServeOptions(**WORKER, also=2 * ("http://127.0.0.1:9100/metrics",)), ["also", "also"]),
        (ServeOptions(**WORKER, listen_port=9400, also=("http://127.0.0.1:9400/metrics",)), ["also"]),
        (TopOptions(), []),
        (TopOptions(grpc_port=1), []),
        (TopOptions(url=("http://h/metrics",), once=True, json=True), ["once"]),
        (TopOptions(listen_port=1, user="u"), ["user"]),
        (NodeOptions(derived_ports=True), []),
        (NodeOptions(derived_ports=True, web_config=Path("w")), ["derived_ports"]),
        (HealthcheckOptions(), []),
        (HealthcheckOptions(user="u"), ["user"]),
        (HealthcheckOptions(password_file=Path("f")), ["password_file"]),
        (HealthcheckOptions(user="u", password_file=Path("f")), []),
    ],
)
def test_what_is_missing_or_contradicts(options: Options, names: list[str]) -> None:
    assert [name for name, _ in options.problems()] == names


# --- What is said of them ---


def test_each_option_is_declared_once() -> None:
    numbers = {option.number for option in ALL.values()}
    assert len(numbers) == len(ALL)
    assert {name for options in EVERY for name in described(options)} == set(ALL)
    assert {option.group for option in ALL.values()} == set(GROUPS)


@pytest.mark.parametrize("options", EVERY)
def test_they_are_told_in_order(options: type[Options]) -> None:
    said = [*described(options).values()]
    assert [GROUPS.index(option.group) for option in said] == sorted(
        GROUPS.index(option.group) for option in said
    )
    assert len(said) == len(fields(options))
    assert all(option.metavar or option.is_switch or option.choices for option in said)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("grpc_prot", "--grpc-port"),
        ("--grpc-prot", "--grpc-port"),
        ("port", "--listen-port"),
        ("host", "--listen-host"),
    ],
)
def test_what_may_be_meant(name: str, meant: str) -> None:
    assert no_such_option(name, flag) == f"no such option; did you mean {meant}?"


def test_nothing_near_is_meant() -> None:
    assert no_such_option("zzz") == "no such option"


def test_they_can_be_sent_to_another_process() -> None:
    options = ServeOptions(**WORKER, label={"a": "1"}, max_file_size=Size(1 << 20))
    again = pickle.loads(pickle.dumps(options))  # noqa: S301 - our own
    assert again == options
    assert str(again.max_file_size) == "1MiB"


def test_they_need_no_pydantic() -> None:
    code = "import sys, exporter.options; print([name for name in sys.modules if 'pydantic' in name])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
