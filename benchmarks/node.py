"""One node beside one exporter per worker, over the same workers in the same run; and what its looks cost.

    python -m benchmarks.node

It runs in a pid namespace of its own, in which only its own processes are: as root, or where users may make namespaces.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.directories import LIVE_PIDS, recorded, workspace
from benchmarks.report import markdown

WORKERS = 8
SCRAPES = 40
IDLE = 2000
GPU_PROCESSES = 4
SETTLE_SECONDS = 180.0
"""Until then, new processes are looked at more often."""
LOOK_SECONDS = 60.0
FIRST_FILES = 5
"""Servers that write their first file, with each kind of exporter."""
_START = 60.0


def main() -> None:
    """Measure, and print a table."""
    with workspace() as room:
        rows = [*_beside_single_exporters(room), *_looks(room)]
    print(markdown(("case", "figure", "target", "met"), rows))


def _row(case: str, figure: str, target: str, *, met: bool) -> tuple[str, ...]:
    return case, figure, target, "yes" if met else "**no**"


# --- Eight workers ---


def _beside_single_exporters(room: Path) -> Iterator[tuple[str, ...]]:
    with ExitStack() as stack:
        directories = [_worker_directory(room, number) for number in range(WORKERS)]
        processes = [
            stack.enter_context(_process("benchmarks._node_workers", str(directory), pid))
            for directory in directories
            for pid in LIVE_PIDS
        ]
        ports = [_free_port() for _ in range(WORKERS + 1)]
        node = stack.enter_context(_exporter(ports[0], "node"))
        single = [
            stack.enter_context(
                _exporter(port, "serve", f"--multiproc-dir={directory}", f"--worker-addr=grpc://w{port}")
            )
            for port, directory in zip(ports[1:], directories, strict=True)
        ]
        _await(
            lambda: _get(ports[0]).count(b"\nsmg_exporter_worker_up{") == WORKERS, "all workers in one answer"
        )
        _await(lambda: all(map(_get, ports)), "an answer of each exporter")
        together, apart, longest = [], [], []
        for _ in range(SCRAPES):
            for process in processes:
                _tell(process)
            before = _cpu([node])
            start = time.perf_counter()
            _get(ports[0])
            longest.append(time.perf_counter() - start)
            together.append(_cpu([node]) - before)
            before = _cpu(single)
            for port in ports[1:]:
                _get(port)
            apart.append(_cpu(single) - before)
        memory, memories = _memory([node]), _memory(single)
    share = memory / memories
    yield _row(
        f"memory, {WORKERS} workers of tp1",
        f"node {memory >> 20} MiB, {WORKERS} exporters {memories >> 20} MiB: {share:.2f}",
        "0.25",
        met=share <= 0.25,
    )
    one, many = sum(together) / SCRAPES, sum(apart) / SCRAPES
    yield _row(
        "CPU per scrape of all, everything changed",
        f"node {one * 1e3:.1f} ms, {WORKERS} exporters {many * 1e3:.1f} ms",
        "no more",
        met=one <= many,
    )
    yield _row(
        "one answer with all, everything changed",
        f"{median(longest) * 1e3:.1f} ms; {one / (many / WORKERS):.1f} times one exporter's CPU",
        f"{WORKERS} times",
        met=one <= many,
    )


def _worker_directory(room: Path, number: int) -> Path:
    directory = room / f"worker{number}"
    shutil.move(recorded("tp1", room), directory)
    return directory


# --- Looks ---


def _looks(room: Path) -> Iterator[tuple[str, ...]]:
    with ExitStack() as stack:
        stack.enter_context(_idle(IDLE))
        for _ in range(GPU_PROCESSES):
            stack.enter_context(_process("benchmarks._node_workers", "maps"))
        port = _free_port()
        node = stack.enter_context(_exporter(port, "node"))
        _await(lambda: b"\nprocess_cpu_seconds_total" in _get(port), "an answer")
        time.sleep(SETTLE_SECONDS)
        before, start = _cpu([node]), time.monotonic()
        time.sleep(LOOK_SECONDS)
        share = (_cpu([node]) - before) / (time.monotonic() - start)
        yield _row(
            f"looks, {IDLE:,} processes, {GPU_PROCESSES} with 20,000 mappings",
            f"{share:.2%} of a core",
            "0.20%",
            met=share <= 0.002,
        )
        late = [stack.enter_context(_late(room / f"late{number}")) for number in range(2 * FIRST_FILES)]
        found, alone = late[:FIRST_FILES], late[FIRST_FILES:]
        yield _first_files(
            "first file to first answer, in node", 5.0, [_first_file(one, port) for one in found]
        )
        yield _first_files("the same with --grpc-port", 1.0, [*map(_first_file_of_one, alone)])


class _Late(NamedTuple):
    """A server that has no metrics file yet."""

    process: "subprocess.Popen[str]"
    grpc_port: int


@contextmanager
def _late(directory: Path) -> Iterator[_Late]:
    directory.mkdir()
    port = _free_port()
    with _process("benchmarks._node_workers", "late", str(directory), str(port)) as process:
        yield _Late(process, port)


def _first_file(late: _Late, port: int) -> float:
    """Have a server write its first file; return the seconds until the exporter on `port` answers with it."""
    line = f'\nfirst_total{{worker_addr="http://{socket.gethostname()}:{late.grpc_port}"}} 1.0\n'.encode()
    start = time.monotonic()
    _tell(late.process)
    _await(lambda: line in _get(port), "the first file")
    return time.monotonic() - start


def _first_file_of_one(late: _Late) -> float:
    """Do the same with an exporter of that server only, which waits for it."""
    port = _free_port()
    with _exporter(port, "serve", f"--grpc-port={late.grpc_port}"):
        _await(lambda: b"\nprocess_cpu_seconds_total" in _get(port), "an answer")
        return _first_file(late, port)


def _first_files(case: str, most: float, seconds: Sequence[float]) -> tuple[str, ...]:
    figure = f"{median(seconds):.1f} s, at most {max(seconds):.1f} s"
    return _row(case, figure, f"{most:.0f} s", met=max(seconds) <= most)


@contextmanager
def _idle(count: int) -> Iterator[None]:
    """Run so many processes that sleep, below one shell."""
    script = f"i=0; while [ $i -lt {count} ]; do sleep 3600 & i=$((i+1)); done; echo ready; read end; kill $(jobs -p)"
    with _started(["bash", "-c", script]):
        yield


# --- Processes ---


@contextmanager
def _process(module: str, *words: str) -> Iterator["subprocess.Popen[str]"]:
    with _started([sys.executable, "-m", module, *words]) as process:
        yield process


@contextmanager
def _started(command: Sequence[str]) -> Iterator["subprocess.Popen[str]"]:
    """Run a program that says when it is ready, and ends with its stdin."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            assert process.stdin
            process.stdin.close()
            process.wait(_START)


@contextmanager
def _exporter(port: int, *words: str) -> Iterator[int]:
    """Run an exporter; give its pid."""
    command = [sys.executable, "-m", "exporter", *words, f"--listen-port={port}", "--log-level=error"]
    with subprocess.Popen(command) as process:
        try:
            yield process.pid
        finally:
            process.terminate()


def _tell(process: "subprocess.Popen[str]") -> None:
    assert process.stdin
    assert process.stdout
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "done\n"


def _get(port: int) -> bytes:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            return bytes(answer.read())
    except OSError:
        return b""


def _await(done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _START
    while not done():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def _cpu(pids: Sequence[int]) -> float:
    """Return the CPU seconds of all threads of processes so far, to the nanosecond."""
    total = 0
    for thread in chain.from_iterable(Path(f"/proc/{pid}/task").glob("*/schedstat") for pid in pids):
        with suppress(OSError):  # a thread that ends meanwhile
            total += int(thread.read_text().split()[0])
    return total / 1e9


def _memory(pids: Sequence[int]) -> int:
    """Return the resident bytes of processes; what they share counts for each in part."""
    texts = (Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids)
    return sum(
        int(line.split()[1]) << 10 for text in texts for line in text.splitlines() if line.startswith("Pss:")
    )


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def run() -> int:
    """Measure in a pid namespace made for that; return the exit code."""
    user = ["--map-root-user"] if os.geteuid() else []
    words = ["unshare", *user, "--pid", "--fork", "--kill-child", "--mount-proc"]
    command = [*words, sys.executable, "-c", "from benchmarks import node; node.main()"]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(run())
