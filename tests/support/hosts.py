"""Workers as processes of this host, in containers' place if wanted: a server that listens, and writers below it.

This file is also what such a server runs: it prints a line once its writers have written, and ends with its stdin.
"""

import multiprocessing
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from exporter.discovery.proc import Proc

METRIC = "answers_total"


class TestsProcesses(Proc):
    """The processes of this test and those that it started: no others are looked into."""

    __test__ = False

    def listing(self) -> dict[int, int]:
        return {pid: mark for pid in self.pids() if (mark := self.mark(pid))}

    def pids(self) -> set[int]:
        """Return the pids of this test and of all that it started."""
        found: set[int] = set()
        left = [os.getpid()]
        while left:
            found.add(pid := left.pop())
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                try:
                    left += map(int, task.read_text().split())
                except OSError:
                    continue
        return found


class Hosted:
    """A running worker."""

    def __init__(self, process: "subprocess.Popen[str]", port: int) -> None:
        self._process = process
        self.port = port

    @property
    def pid(self) -> int:
        """The pid of the server, or of what its command line begins with."""
        return self._process.pid

    def end(self) -> None:
        """End the worker, and wait until it has ended."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(15)


@contextmanager
def hosted(
    directory: Path,
    *arguments: str,
    port: int | None = 0,
    writers: int = 1,
    prefix: Sequence[str] = (),
    environment: Mapping[str, str] = os.environ,
) -> Iterator[Hosted]:
    """Run a worker, by default on a free port; `port` None: it does not listen. `prefix` begins its command line."""
    command = [sys.executable, __file__, *arguments, f"--writers={writers}", f"--directory={directory}"]
    if port is not None:
        command.append(f"--port={port}")
    with subprocess.Popen(
        [*prefix, *command],
        env={**environment, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        worker = Hosted(process, int(process.stdout.readline() or 0))
        try:
            yield worker
        finally:
            worker.end()


def container(*mounts: Path, net: bool = False) -> list[str]:
    """Return a command line's beginning that runs the rest in namespaces of its own, with these mounted empty.

    Where the system allows no namespaces the test is skipped, but in CI it fails.
    """
    namespaces = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", *(["--net"] if net else [])]
    if os.geteuid():
        namespaces.append("--map-root-user")
    if subprocess.run(["unshare", *namespaces, "true"], check=False, capture_output=True).returncode:
        end = pytest.fail if os.environ.get("CI") else pytest.skip
        end("no namespaces may be made here: run as root, or allow user namespaces")
    script = "".join(f"mkdir -p '{path}' && mount -t tmpfs none '{path}' && " for path in mounts)
    return ["unshare", *namespaces, "sh", "-c", f'{script}exec "$@"', "sh"]


_WITH_NETWORK = """
import fcntl, os, socket, struct, sys
with socket.socket() as sock:
    fcntl.ioctl(sock, 0x8914, struct.pack("16sh14x", b"lo", 0x41))  # SIOCSIFFLAGS: up, running
    if sys.argv[1]:
        address = struct.pack("16shH4s8x", b"lo:1", socket.AF_INET, 0, socket.inet_aton(sys.argv[1]))
        fcntl.ioctl(sock, 0x8916, address)  # SIOCSIFADDR
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Brings the loopback device up, with an address if one is given, and becomes the program that follows."""


def network(address: str = "") -> list[str]:
    """Return a command line's beginning, for use after that of a `container`: its network works, and has an address."""
    return [sys.executable, "-c", _WITH_NETWORK, address]


@contextmanager
def machine() -> Iterator[list[str]]:
    """Make a host on which nothing runs, not even its network is ours.

    Give a command line's beginning that runs the rest there. With the block, all that runs there ends.
    """
    init = [*container(net=True), *network(), "/bin/sh", "-c", "echo ready; exec cat"]
    pipe = subprocess.PIPE
    with subprocess.Popen(init, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        (pid,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        user = ["--user", "--preserve-credentials"] if os.geteuid() else []
        try:
            yield ["nsenter", f"--target={pid}", *user, "--mount", "--pid", "--net"]
        finally:
            process.kill()


def _write(directory: str, done: "multiprocessing.synchronize.Event", pace: float | None) -> None:
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory
    from prometheus_client import Counter, Gauge  # noqa: PLC0415 - reads the environment

    answers = Counter(METRIC, "What was answered.")
    answers.inc()
    Gauge("load", "What is being answered.", multiprocess_mode="livesum").set(3)
    done.set()
    never = multiprocessing.get_context("spawn").Event()
    while not never.wait(pace):
        answers.inc()


def _main() -> None:
    given = dict(word.removeprefix("--").split("=", 1) for word in sys.argv[1:] if "=" in word)
    spawn = multiprocessing.get_context("spawn")
    listening = socket.create_server(("127.0.0.1", int(given["port"]))) if "port" in given else None
    directories = [given["directory"]] * int(given["writers"])
    pace = float(given["pace"]) if "pace" in given else None  # seconds from one answer to the next
    for directory in [*directories, *([given["also"]] if "also" in given else [])]:
        Path(directory).mkdir(exist_ok=True)
        done = spawn.Event()
        spawn.Process(target=_write, args=(directory, done, pace), daemon=True).start()
        done.wait()
    print(listening.getsockname()[1] if listening else 0, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    _main()
