"""The exporter as a process: start it, ask it, and look at what it takes."""

import gzip
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

_ROOT = Path(__file__).parents[1]
PATIENCE = 60.0
"""Seconds that a server has to start, to answer and to end."""
_REST = 0.005
"""Seconds in which an exporter is done with what follows an answer."""
HEADERS = {"Accept": "application/openmetrics-text;version=1.0.0", "Accept-Encoding": "gzip"}

Server = subprocess.Popen[bytes]


def options(directory: Path, port: int, *more: str) -> list[str]:
    """Return the exporter's options; nobody has the pids of recorded files, so liveness is off by default."""
    words = ["--grpc-port=8001", "--listen-host=127.0.0.1", f"--listen-port={port}"]
    return [*words, f"--multiproc-dir={directory}", "--log-level=error", *(more or ("--liveness=off",))]


@contextmanager
def server(module: str, *words: str, blocks: list[tuple[float, float]] | None = None) -> Iterator[Server]:
    """Run a server as long as the block does; then put into `blocks` what a watched one has noted."""
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
    """An exporter that listens, and a connection to it."""

    def __init__(self, process: Server, port: int) -> None:
        self._process = process
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)

    @property
    def cpu_seconds(self) -> float:
        """The CPU time of all its threads, those that have ended not included."""
        tasks = Path(f"/proc/{self._process.pid}/task").glob("*/schedstat")
        return sum(int(path.read_text().split()[0]) for path in tasks) / 1e9

    @property
    def child_cpu_seconds(self) -> float:
        """The CPU time of its processes that have ended, such as the one that reads the settings."""
        words = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, words[13:15])) / os.sysconf("SC_CLK_TCK")

    @property
    def memory(self) -> float:
        """What it has resident, in MiB."""
        return resident(self._process.pid)

    def scrape(self) -> bytes:
        """Scrape it; return the body, compressed."""
        self._connection.request("GET", "/metrics", headers=HEADERS)
        return self._connection.getresponse().read()

    def scrape_text(self) -> bytes:
        """Scrape it; return the body, decompressed."""
        return gzip.decompress(self.scrape())

    def scrape_cost(self, in_a_row: int = 1) -> float:
        """Scrape it so many times in a row; return the CPU time of one of them, in seconds."""
        before = self.cpu_seconds
        for _ in range(in_a_row):
            self.scrape()
        time.sleep(_REST)
        return (self.cpu_seconds - before) / in_a_row

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


@contextmanager
def running(directory: Path, *more: str) -> Iterator[Running]:
    """Run an exporter of a directory as long as the block does; yield it once it has served the worker's metrics."""
    port = free_port()
    with server("exporter", *options(directory, port, *more)) as process:
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
    """Give the recorded files of some pids to processes that live as long as the block; yield both."""
    with ExitStack() as stack:
        writers: dict[Server, list[Path]] = {}
        for pid in pids:
            writer = stack.enter_context(subprocess.Popen(["sleep", "3600"]))
            stack.callback(writer.kill)
            files = writers[writer] = []
            for path in directory.glob(f"*_{pid}.db"):
                files.append(path.rename(path.with_stem(path.stem.replace(pid, str(writer.pid)))))
                files[-1].touch()  # a process that is younger than its files is taken for a stranger
        yield writers


def await_metrics(port: int) -> None:
    """Return when the worker's metrics have been served."""
    deadline = time.monotonic() + PATIENCE
    while b"sglang" not in _ask(port):
        assert time.monotonic() < deadline, "no metrics are served"
        time.sleep(0.002)


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
    return port


def _ask(port: int) -> bytes:
    """Return a body, decompressed; an empty one where nobody listens yet."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
        try:
            connection.request("GET", "/metrics", headers=HEADERS)
        except ConnectionRefusedError:
            return b""
        return _body(connection.getresponse())


def _body(response: http.client.HTTPResponse) -> bytes:
    body = response.read()
    return gzip.decompress(body) if response.getheader("Content-Encoding") == "gzip" else body
