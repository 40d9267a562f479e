"""Apps of others, as docs/other-apps.md runs them, whose processes come and go by design; beside prometheus_client."""

import json
import os
import re
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

from tests.node.running import host, served
from tests.support.compare import Facts, facts, of_stock
from tests.support.daemon import ROOT, Daemon, daemon, free_port, run
from tests.support.expositions import Exposition
from tests.support.peers import program
from tests.support.waiting import DEADLINE, eventually

pytestmark = pytest.mark.peer

PROCESSES = 3
MAX_REQUESTS = 20
"""Requests after which a process ends, and another takes its place."""
REQUESTS = 60
"""Requests of a round: about every process ends once."""

DOCUMENT = ROOT / "docs" / "other-apps.md"
APPS = {"gunicorn": "tests.support.flask_app:app", "uvicorn": "tests.support.fastapi_app:app"}
WAYS = ["gunicorn", "gunicorn --preload", "uvicorn"]


def command(way: str, port: int) -> Sequence[str]:
    """Return the document's command, but for a free port, and fewer processes that end sooner."""
    name, *more = way.split()
    (line,) = re.findall(rf"^{name} app:app .*", DOCUMENT.read_text("utf-8"), re.MULTILINE)
    ours = {
        "app:app": APPS[name],
        "0.0.0.0:8000": f"127.0.0.1:{port}",
        "0.0.0.0": "127.0.0.1",
        "8000": str(port),
        "4": str(PROCESSES),
        "1000": str(MAX_REQUESTS),
        "100": str(MAX_REQUESTS // 4),
    }
    return [program(name), *(ours.get(word, word) for word in line.split()[1:]), *more]


def environment(directory: Path) -> dict[str, str]:
    """Return what either of them needs in its environment."""
    return {"PYTHONPATH": str(ROOT), "PROMETHEUS_MULTIPROC_DIR": str(directory)}


class App:
    """A running app."""

    def __init__(self, port: int, directory: Path) -> None:
        self.port = port
        self.directory = directory

    def ask(self) -> bool:
        """Ask once; return whether there was an answer: a process that ends may leave a client without."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        try:
            connection.request("GET", "/", headers={"Connection": "close"})
            return connection.getresponse().read().strip(b'"') == b"ok"
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    def stock(self, living: Collection[str], added: Mapping[str, str] | None = None) -> Facts:
        """Return prometheus_client's merge, but for live gauges of all but the `living`: promise 2."""
        files = (
            path
            for path in self.directory.iterdir()
            if not path.name.startswith("gauge_live") or path.stem.rpartition("_")[2] in living
        )
        return of_stock(files, added)


@contextmanager
def running(way: str, directory: Path) -> Iterator[App]:
    port = free_port()
    directory.mkdir()
    with directory.with_name("app.log").open("wb") as log:
        popen = subprocess.Popen(
            command(way, port),
            cwd=ROOT,
            env=os.environ | environment(directory),
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


def of_app(exposition: Exposition) -> Facts:
    """Return the families of the app."""
    return facts(family for family in exposition.families if family.name.startswith("app_"))


def pids() -> set[str]:
    """Return the processes of this host."""
    return {path.name for path in Path("/proc").iterdir()}


def processes(exporter: Daemon, state: str) -> float:
    return sum(exporter.scrape().values("smg_exporter_processes", state=state))


@pytest.mark.parametrize("way", WAYS)
def test_an_app_whose_processes_are_recycled_is_served_as_prometheus_client_merges_it(
    way: str, tmp_path: Path
) -> None:
    with running(way, tmp_path / "app") as app, daemon(app.directory, port_of_worker=False) as exporter:
        answered = 1
        for _ in range(3):
            answered += sum(app.ask() for _ in range(REQUESTS))
            eventually(lambda: of_app(exporter.scrape()) == app.stock(pids()), "quiet, they are equal")
            now = exporter.scrape()
            assert sum(now.values("app_requests_total")) >= answered
            assert sum(now.values("app_request_seconds_count")) >= answered
            # For a moment no process lives, if all are recycled at once.
            eventually(lambda: exporter.scrape().value("smg_exporter_worker_up") == 1, "a process lives")
            eventually(lambda: exporter.scrape().value("app_busy") == 0, "no request is under way")
        assert processes(exporter, "dead") >= PROCESSES
        eventually(lambda: processes(exporter, "live") > 0, "some live")
        assert re.search(r"[0-9]+ process(es)? live; [0-9]+ have ended\.", exporter.get("/").text)
        verified = run("verify", f"--multiproc-dir={app.directory}")
        assert verified.returncode == 0, verified.stdout


@pytest.mark.parametrize("way", WAYS)
def test_node_serves_it_as_one_worker_meanwhile(way: str, tmp_path: Path) -> None:
    app = App(free_port(), tmp_path)
    settings = [f"{name}={value}" for name, value in environment(tmp_path).items()]
    with host(beside=[["env", *settings, *command(way, app.port)]]) as node:

        def scrape() -> Exposition:
            return Exposition(node.get("/metrics")[1])

        def living() -> set[str]:
            (worker,) = json.loads(node.get("/status.json")[1])["workers"]
            return set(map(str, worker["pids"]))

        name = {"worker_addr": f"http://gpu-1:{app.port}"}
        eventually(app.ask, "the app answers")
        eventually(lambda: served(node, 1), "node has found it")
        answered = 1
        for _ in range(3):
            answered += sum(app.ask() for _ in range(REQUESTS))
            eventually(lambda: of_app(scrape()) == app.stock(living(), name), "quiet, they are equal")
            assert sum(scrape().values("app_requests_total")) >= answered
            eventually(lambda: scrape().value("smg_exporter_worker_up", **name) == 1, "a process lives")
        assert sum(scrape().values("smg_exporter_processes", state="dead", **name)) >= PROCESSES
