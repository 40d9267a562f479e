"""systemd's protocols: a real notify socket, a real passed socket, and a watchdog that is not fed for nothing."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import pytest

from exporter.exposition.negotiation import Encoding, Escaping, Representation
from exporter.model import Format
from exporter.options.sources import load
from exporter.options.worker import ServeOptions
from exporter.service.run import serve
from exporter.service.systemd import PassedSocketError, ServiceManager, _listening, take
from exporter.web.listen import open_sockets
from exporter.worker.parts import Parts
from exporter.worker.serve import make
from tests.support.activating import opened
from tests.support.daemon import ROOT, daemon, free_port
from tests.support.waiting import DEADLINE, eventually
from tests.support.writers import writer

TEXT = Representation(Format.TEXT_0_0_4, Escaping.UNDERSCORES, Encoding.IDENTITY)
WATCHDOG = 0.3
"""Seconds; it is fed twice in that time."""


class Manager:
    """A real socket that a service manager listens on, and what came in."""

    def __init__(self, sock: socket.socket, address: str) -> None:
        self.address = address
        self.lines: list[str] = []
        self._sock = sock

    def receive(self, within: float = DEADLINE) -> bool:
        """Take one message; say whether one came."""
        self._sock.settimeout(within)
        try:
            self.lines += self._sock.recv(65536).decode().split("\n")
        except TimeoutError:
            return False
        return True

    def until(self, pattern: str) -> str:
        """Wait for a line; return it. Lines before it are forgotten."""
        while True:
            while self.lines:
                if re.fullmatch(pattern, line := self.lines.pop(0)):
                    return line
            assert self.receive(), f"no {pattern}"


@contextmanager
def listening(address: str) -> Iterator[Manager]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(address.replace("@", "\0", 1))
        yield Manager(sock, address)


@pytest.fixture(name="manager")
def _manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    """Listen, as daemons that are started from now on are told."""
    with listening(str(tmp_path / "notify")) as manager:
        monkeypatch.setenv("NOTIFY_SOCKET", manager.address)
        yield manager


@pytest.fixture(name="directory")
def _directory(tmp_path: Path) -> Path:
    directory = tmp_path / "worker"
    directory.mkdir()
    return directory


# --- The variables ---


def test_the_variables_are_taken_away() -> None:
    environment = {
        "NOTIFY_SOCKET": "/run/n",
        "WATCHDOG_USEC": "3000000",
        "WATCHDOG_PID": str(os.getpid()),
        "LISTEN_FDS": "0",
        "LISTEN_PID": str(os.getpid()),
        "LISTEN_FDNAMES": "",
        "PATH": "/bin",
    }
    assert take(environment) == ServiceManager({}, "/run/n", 3.0)
    assert environment == {"PATH": "/bin"}
    assert take(environment) == ServiceManager()


@pytest.mark.parametrize(
    "environment",
    [
        {"LISTEN_FDS": "1", "LISTEN_PID": "1"},
        {"LISTEN_FDS": "1"},
        {"LISTEN_FDS": "-1", "LISTEN_PID": str(os.getpid())},
        {"LISTEN_FDS": "many", "LISTEN_PID": str(os.getpid())},
        {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"},
        {"WATCHDOG_USEC": "soon"},
        {"NOTIFY_SOCKET": "vsock:2:1234"},
        {"NOTIFY_SOCKET": ""},
    ],
)
def test_what_is_meant_for_others_or_nothing_is_ignored(environment: dict[str, str]) -> None:
    assert take(environment) == ServiceManager()
    assert environment == {}


def test_a_manager_that_is_gone_is_no_trouble(tmp_path: Path) -> None:
    ServiceManager(address=str(tmp_path / "nobody")).tell("READY=1")
    ServiceManager(address=str(tmp_path / ("long" * 100))).tell("READY=1")
    ServiceManager().tell("READY=1")


def test_a_manager_that_does_not_read_holds_nobody_up(tmp_path: Path) -> None:
    with listening(str(tmp_path / "notify")) as manager:
        it = ServiceManager(address=manager.address)

        def tell_often() -> None:
            for _ in range(1000):
                it.tell("WATCHDOG=1")

        telling = threading.Thread(target=tell_often, daemon=True)
        telling.start()
        telling.join(DEADLINE)
        assert not telling.is_alive()


def test_no_text_can_say_more_than_it_should(tmp_path: Path) -> None:
    with listening(str(tmp_path / "notify")) as manager:
        ServiceManager(address=manager.address).tell("STATUS=a\nSTOPPING=1", "READY=1", "STATUS=\udcff")
        manager.receive()
    assert manager.lines == ["STATUS=a\\nSTOPPING=1", "READY=1", "STATUS=\\udcff"]


# --- A daemon that has a manager ---


def test_it_says_how_things_are(manager: Manager, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", str(int(WATCHDOG * 1e6)))
    with daemon(directory) as it:
        assert manager.until("READY=1|STATUS=.*") == "READY=1"
        assert it.get("/healthz").status == 200
        manager.until(f"STATUS=waiting for {directory}: no .db file yet; .*")
        with writer(directory) as process:
            process.set("sglang:load", 5)
            manager.until(f"STATUS=serving 1 series of 1 process on port {it.port}")
            manager.until("WATCHDOG=1")
            manager.until("WATCHDOG=1")
        manager.until(f"STATUS=the worker is down; serving [01] series of 1 process on port {it.port}")
        it.signal(signal.SIGTERM)
        manager.until("STOPPING=1")
        assert manager.until(".*") == "STATUS=stopping"
        assert it.wait() == 0
    while manager.receive(within=0.01):
        pass
    assert set(manager.lines) <= {"WATCHDOG=1"}


def test_an_abstract_socket_and_no_watchdog(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listening(f"@{tmp_path}") as manager:
        monkeypatch.setenv("NOTIFY_SOCKET", manager.address)
        with daemon(directory):
            manager.until("READY=1")
        assert manager.until("STOPPING=1|WATCHDOG=1") == "STOPPING=1"


# --- The watchdog ---


@asynccontextmanager
async def watched(directory: Path, manager: Manager, until: str = "WATCHDOG=1") -> AsyncIterator[None]:
    """Serve, in this process, with a watchdog; from a line on that the manager hears."""
    settings = load(ServeOptions, {"grpc_port": "8001", "multiproc_dir": str(directory)})
    told = ServiceManager(address=manager.address, watchdog=WATCHDOG)
    sockets = open_sockets(["127.0.0.1"], 0)
    serving = asyncio.create_task(serve(partial(make, settings), sockets, "", manager=told))
    try:
        async with asyncio.timeout(2 * DEADLINE):
            await asyncio.to_thread(manager.until, until)
            yield
            os.kill(os.getpid(), signal.SIGTERM)
            assert await serving == 0
    finally:
        serving.cancel()


def hang_at(monkeypatch: pytest.MonkeyPatch, place: str) -> threading.Event:
    """Have a function wait for the event; which is set at first."""
    gate = threading.Event()
    gate.set()
    owner, name = place.rsplit(".", 1)
    target = getattr(sys.modules[owner.rsplit(".", 1)[0]], owner.rsplit(".", 1)[1])
    function: Callable[..., object] = getattr(target, name)

    def wait(*arguments: object, **named: object) -> object:
        assert gate.wait(2 * DEADLINE)
        return function(*arguments, **named)

    monkeypatch.setattr(target, name, wait)
    return gate


def told_stuck(caplog: pytest.LogCaptureFixture) -> list[dict[str, str]]:
    """Return the fields of the log lines that tell what is stuck."""
    return [getattr(record, "fields") for record in caplog.records if "stuck" in record.getMessage()]  # noqa: B009 - logging's extra


@pytest.mark.parametrize(
    "part",
    [
        ("exporter.worker.watch.Watcher._look", "listing"),
        ("exporter.multiproc.engine.Engine.update", "reading the files of"),
    ],
    ids=["watcher", "scraper"],
)
async def test_it_is_not_fed_while_a_part_is_stuck(
    manager: Manager,
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    part: tuple[str, str],
) -> None:
    place, problem = part
    gate = hang_at(monkeypatch, place)
    async with watched(directory, manager):
        gate.clear()
        await asyncio.to_thread((directory / "counter_1.db").touch)  # which makes for a look, and a read
        # A read that was under way waits for the look that hangs, and may be told first.
        expected = {"problem": f"{problem} {directory}"}
        await asyncio.to_thread(eventually, lambda: expected in told_stuck(caplog), "it is noticed")
        while manager.receive(within=0.001):
            pass
        manager.lines.clear()
        assert not await asyncio.to_thread(manager.receive, 2 * WATCHDOG), "systemd would restart it now"
        assert told_stuck(caplog).count(expected) == 1
        gate.set()
        await asyncio.to_thread(manager.until, "WATCHDOG=1")


async def test_it_is_not_ready_before_the_first_look(
    manager: Manager, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.service.run._LOOK", 0.05)
    gate = hang_at(monkeypatch, "exporter.worker.watch.Watcher._look")
    gate.clear()
    async with watched(directory, manager, until=f"STATUS=waiting for {directory}: not listed yet"):
        while await asyncio.to_thread(manager.receive, 2 * WATCHDOG):
            pass  # until it is stuck
        assert set(manager.lines) == {"WATCHDOG=1"}
        gate.set()
        await asyncio.to_thread(manager.until, "READY=1")


async def test_a_part_that_rests_is_not_stuck(directory: Path) -> None:
    parts = Parts(load(ServeOptions, {"grpc_port": "8001", "multiproc_dir": str(directory)}))
    assert not parts.roster.stuck(0)
    await parts.roster.look()
    await parts.scraper.scrape(TEXT, DEADLINE)
    assert not parts.roster.stuck(0)


# --- Passed sockets ---


def test_a_passed_socket_is_served_and_no_other(directory: Path) -> None:
    port = free_port()
    with daemon(directory, program=("-m", "tests.support.activating", "tcp", str(port), "metrics")) as it:
        unused, it.port = it.port, port
        assert it.get("/healthz").status == 200
        assert it.said(f'url=http://127.0.0.1:{port}/metrics port_rule="passed by systemd as metrics"')
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", unused))


def test_a_socket_that_cannot_be_served_ends_it(directory: Path) -> None:
    words = ["udp", "0", "odd", "--grpc-port=8001", f"--multiproc-dir={directory}"]
    result = subprocess.run(
        [sys.executable, "-m", "tests.support.activating", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    (line,) = result.stderr.splitlines()
    assert result.returncode == 1
    assert line == (
        "smg-exporter: error: file descriptor 3 (odd), passed by systemd, "
        "is not a listening TCP socket: say ListenStream=PORT and Accept=no"
    )


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("tcp-not-listening", "is not a listening TCP socket"),
        ("udp", "is not a listening TCP socket"),
        ("unix", "is not a listening TCP socket"),
        ("file", "is no socket: Socket operation on non-socket"),
        ("closed", "is no socket: Bad file descriptor"),
    ],
)
def test_descriptors_that_cannot_be_served(tmp_path: Path, kind: str, fault: str) -> None:
    address = {"unix": str(tmp_path / "s"), "file": __file__}.get(kind, "0")
    descriptor = opened("tcp" if kind == "closed" else kind, address)
    if kind == "closed":
        os.close(descriptor)
    with pytest.raises(PassedSocketError, match=fault):
        _listening(descriptor, "odd")
