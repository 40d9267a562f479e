"""The exporter as a process of its own, and clients of it."""

import gzip
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Self

from tests.support.expositions import Exposition
from tests.support.waiting import DEADLINE, eventually

ROOT = Path(__file__).parents[2]
GRPC_PORT = 8001
STOP_DEADLINE = 5.0
"""Seconds within which a signal ends it."""
_SLACK = 1.0
"""Seconds that a busy machine may add."""

_LOGFMT = re.compile(r'ts=\S+ level=\w+ msg=("([^"\\]|\\.)*"|[^\s"=]+)( \w+=("([^"\\]|\\.)*"|[^\s"=]+))*')


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
    return port


def is_free(port: int) -> bool:
    """Return whether nobody listens on a port now."""
    try:
        with socket.create_server(("127.0.0.1", port)):
            return True
    except OSError:
        return False


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, its content coding undone."""

    status: int
    headers: Message
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def exposition(self) -> Exposition:
        """The samples, as a strict reader takes them."""
        assert self.status == 200, self.text
        openmetrics = self.headers["Content-Type"].startswith("application/openmetrics-text")
        return Exposition(self.text, openmetrics=openmetrics)


class Daemon:
    """A running exporter; made by `daemon`."""

    def __init__(self, popen: "subprocess.Popen[bytes]", log: Path, host: str, port: int) -> None:
        self.popen = popen
        self.host = host
        self.port = port
        self._log = log

    @property
    def log(self) -> list[str]:
        """The lines that it has written to stderr."""
        return self._log.read_text().splitlines()

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def get(
        self, path: str, headers: Mapping[str, str] | None = None, method: str = "GET", host: str = ""
    ) -> Answer:
        """Ask, on a connection of its own."""
        connection = http.client.HTTPConnection(host or self.host, self.port, timeout=DEADLINE)
        try:
            connection.request(method, path, headers=dict(headers or {}))
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        if response.getheader("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        return Answer(response.status, response.headers, body)

    def scrape(self) -> Exposition:
        """Return the metrics of now."""
        return self.get("/metrics").exposition

    def signal(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def wait(self, within: float = STOP_DEADLINE + _SLACK) -> int:
        """Return the exit code."""
        return self.popen.wait(within)

    def said(self, text: str) -> bool:
        """Whether a line of the log has this text."""
        return any(text in line for line in self.log)


@contextmanager
def daemon(
    directory: Path,
    *options: str,
    program: Sequence[str] = ("-m", "exporter"),
    log_format: str = "logfmt",
    hosts: Sequence[str] = ("127.0.0.1",),
    port: int = 0,
    port_of_worker: bool = True,
) -> Iterator[Daemon]:
    """Run the exporter on `directory`, listening on a free port or `port`; with the block it ends as it should.

    It is told the worker's port if `port_of_worker`; a demo, which listens there too, a free one.
    """
    port = port or free_port()
    words = [f"--listen-port={port}", *(f"--listen-host={host}" for host in hosts)]
    worker = {"SMG_EXPORTER_MULTIPROC_DIR": str(directory)}
    if port_of_worker:
        worker["SMG_EXPORTER_GRPC_PORT"] = str(free_port() if "demo" in options else GRPC_PORT)
    log = directory.with_name(f"{directory.name}-{port}.log")
    with log.open("wb") as stderr:
        popen = subprocess.Popen(
            [sys.executable, *program, *words, f"--log-format={log_format}", *options],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **worker},
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        )
    running = Daemon(popen, log, "127.0.0.1", port)
    try:
        eventually(lambda: running.said("listening") or popen.poll() is not None, "the daemon listens")
        yield running
        if popen.poll() is None:
            popen.terminate()
            assert running.wait() == 0
    finally:
        popen.kill()
        popen.wait()
    check_log(running.log, log_format)


def check_log(lines: Sequence[str], log_format: str = "logfmt") -> None:
    """Fail where a line is no event, as those of a traceback are not."""
    pattern = _LOGFMT if log_format == "logfmt" else re.compile(r"\{.*\}")
    assert all(pattern.fullmatch(line) for line in lines), "\n".join(lines)


def run(*words: str, within: float = DEADLINE) -> "subprocess.CompletedProcess[str]":
    """Run the command line to its end."""
    return subprocess.run(
        [sys.executable, "-m", "exporter", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=within,
        check=False,
    )


class Scraping:
    """Scrapes without a pause while the block runs, and keeps what it saw."""

    def __init__(self, target: Daemon) -> None:
        self.expositions: list[Exposition] = []
        self.failures: list[str] = []
        self._target = target
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scraping")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(DEADLINE)

    def once_more(self) -> None:
        """Wait for a scrape that starts after this call."""
        seen = len(self.expositions)
        eventually(lambda: len(self.expositions) > seen + 1 or self.failures, "another scrape")

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.expositions.append(self._target.scrape())
            except (OSError, AssertionError, ValueError) as error:
                self.failures.append(repr(error))


@contextmanager
def slow_reader(target: Daemon, path: str = "/metrics") -> Iterator[socket.socket]:
    """Ask for a body, take its first bytes only.

    A scrape is then in flight until the caller reads on, if the body is larger than what the kernel takes.
    """
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        sock.settimeout(DEADLINE)
        sock.connect((target.host, target.port))
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert sock.recv(16) == b"HTTP/1.1 200 OK\r"
        yield sock
