"""`check node`: which workers would be served, under which names, and what stands in the way."""

import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from exporter.discovery.finder import Finder
from exporter.discovery.proc import Proc
from exporter.node.check import check
from exporter.options.node import NodeOptions
from tests.node.running import host, served
from tests.support.checks import Checks
from tests.support.daemon import daemon, free_port
from tests.support.hosts import TestsProcesses, hosted
from tests.support.waiting import eventually


@pytest.fixture(name="checks")
def _checks(capsys: pytest.CaptureFixture[str]) -> Checks:
    def check_with(proc: Proc | None = None, **options: Any) -> int:
        given: dict[str, Any] = {
            "node_name": "gpu-1",
            "listen_host": ("127.0.0.1",),
            "listen_port": free_port(),
        }
        return check(NodeOptions(**given | options), partial(Finder, proc or TestsProcesses()))

    return Checks(capsys, check_with)


def test_each_worker_is_said_with_its_name_and_what_can_be_read_of_it(checks: Checks, tmp_path: Path) -> None:
    port = free_port()
    with hosted(tmp_path / "a", "--grpc", writers=2) as worker:
        code, said = checks.run(listen_port=port, label={"cluster": "a"})
    name = f"grpc://gpu-1:{worker.port}"
    assert code == 0
    assert said.pop("seen")[0].endswith(" processes"), "and none of them is closed to us"
    assert "--grpc" in said.pop("command")[0]
    assert said == {
        "node": ["gpu-1"],
        "port": [f"{port}, chosen by --listen-port: free"],
        "url": [f"http://127.0.0.1:{port}/metrics"],
        "workers": ["1"],
        "": [""],
        "worker": [name],
        "labels": [f"worker_addr={name}, cluster=a"],
        "directory": [f"{tmp_path / 'a'}: readable"],
        "processes": ["2 live"],
        "files": ["4 live"],
        "series": ["2"],
    }


def test_a_host_without_workers_is_not_served(checks: Checks) -> None:
    code, said = checks.run()
    assert code == 1
    assert said["workers"][0].startswith("only the exporter's own processes can be seen: ")


class Refusing(TestsProcesses):
    """Lets nobody look into a process."""

    def variable(self, pid: int, name: bytes) -> str:
        raise PermissionError(pid, name)


def test_processes_that_may_not_be_looked_into_are_said_with_the_way_out(
    checks: Checks, tmp_path: Path
) -> None:
    with hosted(tmp_path):
        code, said = checks.run(Refusing())
    assert (code, said["workers"]) == (1, ["0"])
    assert re.fullmatch(
        r"(\d+) processes, of which may not be looked into \1 of user \w+: .+", said["seen"][0]
    )


def test_workers_that_cannot_be_served_are_said(checks: Checks, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with hosted(tmp_path / "a"), hosted(tmp_path / "b"):
        code, said = checks.run(max_workers=1)
    assert (code, said["workers"], said["not served"]) == (1, ["1"], ["1 more, beyond --max-workers 1"])


def test_a_directory_that_two_servers_write_into(checks: Checks, tmp_path: Path) -> None:
    with hosted(tmp_path) as first, hosted(tmp_path) as second:
        code, said = checks.run()
    assert (code, said["workers"]) == (1, ["1"])
    later = max(first.port, second.port)
    assert said["problem"] == [f"ports {later} write into the same directory"]


def test_the_port_of_the_node_that_runs_and_of_another_exporter(checks: Checks, tmp_path: Path) -> None:
    with hosted(tmp_path / "a"):
        with host() as it:
            eventually(lambda: served(it, 0), "node answers")
            code, said = checks.run(listen_port=it.port)
            assert code == 0
            assert said["port"][0].endswith("held by the smg-exporter that serves this host's workers now")
        with daemon(tmp_path / "worker") as other:
            code, said = checks.run(listen_port=other.port)
            assert code == 1
            assert said["port"][0].endswith("choose another with --listen-port")
