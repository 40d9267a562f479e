"""Apps of others, as docs/other-apps.md runs them, whose processes come and go by design; beside prometheus_client."""

import os
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

from tests.support.compare import Facts, of_stock, of_text
from tests.support.daemon import ROOT, Daemon, daemon, free_port, run
from tests.support.peers import program
from tests.support.waiting import DEADLINE, eventually

pytestmark = pytest.mark.peer

PROCESSES = 3
MAX_REQUESTS = 20
"""Requests after which a process ends, and another takes its place."""
REQUESTS = 60
"""Requests of a round: about every process ends once."""


def gunicorn(port: int) -> Sequence[str]:
    return [
        *(program("gunicorn"), "tests.support.flask_app:app", f"--bind=127.0.0.1:{port}"),
        *(f"--workers={PROCESSES}", f"--max-requests={MAX_REQUESTS}", "--max-requests-jitter=5"),
    ]


def uvicorn(port: int) -> Sequence[str]:
    return [
        *(program("uvicorn"), "tests.support.fastapi_app:app", "--host=127.0.0.1", f"--port={port}"),
        *(f"--workers={PROCESSES}", f"--limit-max-requests={MAX_REQUESTS}", "--limit-max-requests-jitter=5"),
    ]


class App:
    """A running app."""

    def __init__(self, port: int, directory: Path) -> None:
        self.directory = directory
        self._port = port

    def ask(self) -> bool:
        """Ask once; return whether there was an answer: a process that ends may leave a client without."""
        connection = HTTPConnection("127.0.0.1", self._port, timeout=DEADLINE)
        try:
            connection.request("GET", "/", headers={"Connection": "close"})
            return connection.getresponse().read().strip(b'"') == b"ok"
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    def stock(self) -> Facts:
        """Return prometheus_client's merge, but for live gauges of dead processes: promise 2."""
        alive = {path.name for path in Path("/proc").iterdir()}
        return of_stock(
            path
            for path in self.directory.iterdir()
            if not path.name.startswith("gauge_live") or path.stem.rpartition("_")[2] in alive
        )


@contextmanager
def running(command: Callable[[int], Sequence[str]], directory: Path) -> Iterator[App]:
    port = free_port()
    directory.mkdir()
    with directory.with_name("app.log").open("wb") as log:
        popen = subprocess.Popen(
            command(port),
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PROMETHEUS_MULTIPROC_DIR": str(directory)},
            stdout=log,
            stderr=log,
        )
    try:
        app = App(port, directory)
        eventually(app.ask, "the app answers")
        yield app
    finally:
        popen.terminate()
        popen.wait(DEADLINE)


def of_app(exporter: Daemon) -> Facts:
    """Return what the exporter serves of the app."""
    return {
        family: samples
        for family, samples in of_text(exporter.get("/metrics").body).items()
        if family[0].startswith("app_")
    }


def processes(exporter: Daemon, state: str) -> float:
    return sum(exporter.scrape().values("smg_exporter_processes", state=state))


@pytest.mark.parametrize("command", [gunicorn, uvicorn])
def test_an_app_whose_processes_are_recycled_is_served_as_prometheus_client_merges_it(
    command: Callable[[int], Sequence[str]], tmp_path: Path
) -> None:
    with running(command, tmp_path / "app") as app, daemon(app.directory, port_of_worker=False) as exporter:
        answered = 1
        for _ in range(3):
            answered += sum(app.ask() for _ in range(REQUESTS))
            eventually(lambda: of_app(exporter) == app.stock(), "quiet, they are equal")
            served = exporter.scrape()
            assert sum(served.values("app_requests_total")) >= answered
            assert sum(served.values("app_request_seconds_count")) >= answered
            # For a moment no process lives, if all are recycled at once.
            eventually(lambda: exporter.scrape().value("smg_exporter_worker_up") == 1, "a process lives")
            eventually(lambda: exporter.scrape().value("app_busy") == 0, "no request is under way")
        assert processes(exporter, "dead") >= PROCESSES
        eventually(lambda: processes(exporter, "live") > 0, "some live")
        assert re.search(r"[0-9]+ process(es)? live; [0-9]+ have ended\.", exporter.get("/").text)
        verified = run("verify", f"--multiproc-dir={app.directory}")
        assert verified.returncode == 0, verified.stdout
