"""`check node`: which workers would be served, under which names, and what stands in the way."""

import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from exporter.discovery.finder import Finder
from exporter.discovery.obstacles import HIDDEN
from exporter.discovery.proc import Proc
from exporter.node.check import check
from exporter.options.node import NodeOptions
from tests.node.running import host, served
from tests.support import hosts
from tests.support.checks import Checks, by_first_word
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


_AS_NOBODY = """
import contextlib, io, os, subprocess, sys
from exporter.node.check import check as check_node
from exporter.options.node import NodeOptions
from exporter.options.worker import ServeOptions
from exporter.worker.check import check

def checks():
    check_node(NodeOptions(node_name="gpu-1", listen_host=("127.0.0.1",), listen_port=int(sys.argv[1])))
    check(ServeOptions(grpc_port=port, listen_host=("127.0.0.1",), listen_port=int(sys.argv[1])))
    print(f"listens     {port}")

worker = subprocess.Popen([sys.executable, *sys.argv[3:]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
port = int(worker.stdout.readline())
if sys.argv[2] == "beside a stranger":
    stranger = ["sh", "-c", "setpriv --reuid 65534 --regid 65534 --clear-groups sh -c 'echo; cat'; true"]
    subprocess.Popen(stranger, stdin=subprocess.PIPE, stdout=subprocess.PIPE).stdout.readline()
with contextlib.redirect_stdout(io.StringIO()):
    checks()  # imports what the other user may not be able to read
os.setgroups([]), os.setresgid(65534, 65534, 65534), os.setresuid(65534, 65534, 65534)
checks()
"""
"""Becomes another user than the one of a worker that it has started, and looks for that."""

_CLOSED = (
    "cannot look into the process of user root, which listens on port {}: run as that user, "
    "or with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, or set --multiproc-dir"
)


def _as_nobody(directory: Path, beside: str, *, hides: bool) -> dict[str, list[str]]:
    """Return what both checks say, by the first word of each line, in a pid namespace of the test."""
    mount = "mount -t proc -o hidepid=2 proc /proc && " if hides else ""
    worker = [hosts.__file__, "--writers=1", f"--directory={directory}", "--port=0"]
    command = [sys.executable, "-c", _AS_NOBODY, str(free_port()), beside, *worker]
    # The shell stays, as the first process of the namespace.
    prefix = [*hosts.container(), "sh", "-c", f'{mount}"$@"; exit $?', "sh"]
    run = subprocess.run([*prefix, *command], capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 0, run.stderr
    return by_first_word(run.stdout)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
@pytest.mark.parametrize("beside", ["alone", "beside a stranger"])
def test_where_proc_hides_other_users_processes_that_is_said(tmp_path: Path, beside: str) -> None:
    said = _as_nobody(tmp_path / "a", beside, hides=True)
    assert said["seen"][0].endswith("; " + HIDDEN)
    if beside == "alone":
        assert said["workers"][0].startswith("only the exporter's own processes can be seen: ")
        assert said["workers"][0].endswith("with a /proc that hides no processes")
    else:
        assert said["workers"] == ["0"]
    assert said["directory"] == [_CLOSED.format(said["listens"][0])]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_another_users_processes_are_said_with_the_way_out(tmp_path: Path) -> None:
    said = _as_nobody(tmp_path / "a", "alone", hides=False)
    assert re.fullmatch(
        r"\d+ processes, of which may not be looked into \d+ of user root, .+: run as root, or with CAP_.+",
        said["seen"][0],
    )
    assert "hides" not in said["seen"][0]
    assert said["directory"] == [_CLOSED.format(said["listens"][0])]
