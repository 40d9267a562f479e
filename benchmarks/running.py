"""Runs the exporter as a process: start, requests, CPU time and memory."""

import gzip
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

_ROOT = Path(__file__).parents[1]
PATIENCE = 60.0
"""Most seconds for a server to start, to answer or to end."""
_REST = 0.005
"""Seconds after an answer until the exporter's work for it is surely done."""
HEADERS = {"Accept": "application/openmetrics-text;version=1.0.0", "Accept-Encoding": "gzip"}

Server = subprocess.Popen[bytes]


def options(directory: Path, port: int, *more: str) -> list[str]:
    """Return the exporter's options. Liveness is off by default: the pids of recorded files do not exist."""
    words = ["--grpc-port=8001", "--listen-host=127.0.0.1", f"--listen-port={port}"]
    return [*words, f"--multiproc-dir={directory}", "--log-level=error", *(more or ("--liveness=off",))]


@contextmanager
def server(module: str, *words: str, blocks: list[tuple[float, float]] | None = None) -> Iterator[Server]:
    """Run a server until the end of the block; then add the blocks that a watched server noted to `blocks`."""
    command = [sys.executable, "-m", module, *words]
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.terminate()
            output, _ = process.communicate(timeout=PATIENCE)
    if blocks is not None:
        blocks += map(tuple, json.loads(output))


class Running:
    """A running exporter, with a connection to it."""

    def __init__(self, process: Server, port: int) -> None:
        self._process = process
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)

    @property
    def cpu_seconds(self) -> float:
        """CPU seconds of all threads of the exporter, except ended ones."""
        tasks = Path(f"/proc/{self._process.pid}/task").glob("*/schedstat")
        return sum(int(path.read_text().split()[0]) for path in tasks) / 1e9

    @property
    def child_cpu_seconds(self) -> float:
        """The CPU time of its processes that have ended, such as the one that reads the settings."""
        words = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, words[13:15])) / os.sysconf("SC_CLK_TCK")

    @property
    def memory(self) -> float:
        """Resident memory in MiB."""
        return resident(self._process.pid)

    def scrape(self) -> bytes:
        """Scrape; return the compressed body."""
        return self.get("/metrics")

    def get(self, path: str) -> bytes:
        """Return the body at a path."""
        self._connection.request("GET", path, headers=HEADERS)
        return self._connection.getresponse().read()

    def scrape_text(self) -> bytes:
        """Scrape; return the decompressed body."""
        return gzip.decompress(self.scrape())

    def scrape_cost(self, in_a_row: int = 1) -> float:
        """Scrape `in_a_row` times; return the CPU seconds of one scrape."""
        before = self.cpu_seconds
        for _ in range(in_a_row):
            self.scrape()
        time.sleep(_REST)
        return (self.cpu_seconds - before) / in_a_row

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


@contextmanager
def running(directory: Path, *more: str, module: Sequence[str] = ("exporter",)) -> Iterator[Running]:
    """Run an exporter until the end of the block; yield it once it has served the worker's metrics.

    `module` is the Python module that is the exporter, with its first arguments.
    """
    port = free_port()
    with server(*module, *options(directory, port, *more)) as process:
        await_metrics(port)
        with closing(Running(process, port)) as exporter:
            yield exporter


def resident(pid: int) -> float:
    """Return a process's resident memory in MiB."""
    match = re.search(r"^VmRSS:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert match
    return int(match[1]) / 1024


@contextmanager
def writers_alive(directory: Path, pids: Iterable[str]) -> Iterator[dict[Server, list[Path]]]:
    """Assign the recorded files of `pids` to processes that live until the end of the block; yield both."""
    with ExitStack() as stack:
        writers: dict[Server, list[Path]] = {}
        for pid in pids:
            writer = stack.enter_context(subprocess.Popen(["sleep", "3600"]))
            stack.callback(writer.kill)
            files = writers[writer] = []
            for path in directory.glob(f"*_{pid}.db"):
                files.append(path.rename(path.with_stem(path.stem.replace(pid, str(writer.pid)))))
                files[-1].touch()  # else the process, younger than its files, would not count as their writer
        yield writers


def await_metrics(port: int) -> None:
    """Wait until the worker's metrics are served."""
    deadline = time.monotonic() + PATIENCE
    while b"sglang" not in _ask(port):
        assert time.monotonic() < deadline, "no metrics are served"
        time.sleep(0.002)


def free_port() -> int:
    """Return a free port."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
    return port


def _ask(port: int) -> bytes:
    """Scrape; return the decompressed body, empty if no server listens yet."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
        try:
            connection.request("GET", "/metrics", headers=HEADERS)
        except ConnectionRefusedError:
            return b""
        return _body(connection.getresponse())


def _body(response: http.client.HTTPResponse) -> bytes:
    body = response.read()
    return gzip.decompress(body) if response.getheader("Content-Encoding") == "gzip" else body
