"""Each way of serving a worker, scraped by Prometheus and by VictoriaMetrics: both take every series as it is."""

import shutil
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias

import pytest

from exporter.paths import FLEET_METRICS, WORKER_METRICS
from tests.node import running
from tests.support.daemon import Daemon, daemon
from tests.support.expositions import Exposition
from tests.support.scrapers import Scraper, Target, prometheus, victoria_metrics
from tests.support.waiting import eventually

pytestmark = pytest.mark.peer

SERIES = 6402
"""Those of the recorded worker with eight ranks."""
SMALL, FEWER_SERIES = "small", 1075
"""The name of the directory beside it of one with a single rank, and that one's series."""

Values: TypeAlias = Mapping[frozenset[tuple[str, str]], float]
"""Values of series by their labels, the name as `__name__`."""


@contextmanager
def serve(worker: Path) -> Iterator[Daemon]:
    with daemon(worker, "--liveness=off") as it:
        yield it


@contextmanager
def several(worker: Path) -> Iterator[Daemon]:
    """Serve two workers in one answer, of which the second has written nothing yet."""
    empty = worker.with_name("empty")
    empty.mkdir()
    workers = (f"--multiproc-dir={worker},rank=0", f"--multiproc-dir={empty},rank=1")
    with daemon(worker, "--liveness=off", *workers) as it:
        yield it


@contextmanager
def also(worker: Path) -> Iterator[Daemon]:
    """Serve a worker, and another exposition whose families it has too."""
    with (
        serve(worker.with_name(SMALL)) as other,
        daemon(worker, "--liveness=off", f"--also={other.url}{WORKER_METRICS}") as it,
    ):
        yield it


@contextmanager
def node(worker: Path) -> Iterator[Target]:
    """Serve a worker of two series that goes on in the directory of one that has ended."""
    directory = worker.with_name("continued")
    shutil.copytree(worker, directory)
    with running.host(directory) as it:
        eventually(lambda: running.served(it, 1), "node serves the worker")
        yield it


@contextmanager
def fleet(worker: Path) -> Iterator[Daemon]:
    with serve(worker) as one, daemon(worker, "fleet", f"--worker=grpc://w:1={one.url}/metrics") as it:
        yield it


class Mode(NamedTuple):
    """A way to serve the recorded worker."""

    run: Callable[[Path], AbstractContextManager[Target]]
    series: int
    """How many series of workers are to be scraped."""
    path: str = WORKER_METRICS


MODES = {
    "serve": Mode(serve, SERIES),
    "several": Mode(several, SERIES),
    "also": Mode(also, SERIES + FEWER_SERIES),
    "node": Mode(node, SERIES + 2),
    "fleet": Mode(fleet, SERIES, FLEET_METRICS),
}
SCRAPERS = {"prometheus": prometheus, "victoria-metrics": victoria_metrics}


@dataclass(frozen=True)
class Scraped:
    """The daemon of each mode, and the scrapers, which have a job for each."""

    daemons: Mapping[str, Target]
    scrapers: Mapping[str, Scraper]


@pytest.fixture(scope="module", name="scraped")
def _scraped(recorded: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    directory = tmp_path_factory.mktemp("scrapers")
    worker = directory / "worker"
    worker.symlink_to(recorded["tp8"])
    worker.with_name(SMALL).symlink_to(recorded["tp1"])
    every = {"scrape_interval": "1s", "scrape_timeout": "1s"}
    jobs = {name: {"metrics_path": mode.path, **every} for name, mode in MODES.items()}
    with ExitStack() as stack:
        daemons = {name: stack.enter_context(mode.run(worker)) for name, mode in MODES.items()}
        for name, it in daemons.items():
            served(name, it)  # first answers may take longer than a scraper waits
        scrapers = {
            name: stack.enter_context(scraper(directory, daemons, **jobs))
            for name, scraper in SCRAPERS.items()
        }
        yield Scraped(daemons, scrapers)


def series(labels: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    """Return the labels but for those of the target. Formats differ in how they write whole numbers of `le`."""
    kept = {name: text for name, text in labels.items() if text and name not in {"job", "instance"}}
    return frozenset((name, text.removesuffix(".0") if name == "le" else text) for name, text in kept.items())


def served(mode: str, it: Target) -> Values:
    """Return what a mode's daemon serves of workers."""
    with urllib.request.urlopen(f"http://{it.host}:{it.port}{MODES[mode].path}") as answer:
        exposition = Exposition(answer.read().decode())
    return {
        series({**sample.labels, "__name__": sample.name}): sample.value
        for sample in exposition.samples
        if not sample.name.startswith(("smg_exporter_", "process_"))
    }


@pytest.mark.parametrize("name", SCRAPERS)
@pytest.mark.parametrize("mode", MODES)
def test_every_series_is_taken_as_it_is(scraped: Scraped, mode: str, name: str) -> None:
    it = scraped.scrapers[name]
    ours = f'{{job="{mode}",__name__!~"(smg_exporter|process|scrape)_.*|up"}}'
    eventually(lambda: it.query(f"count({ours})"), "the first scrape")
    expected = served(mode, scraped.daemons[mode])
    assert len(expected) == MODES[mode].series
    taken = {series(labels): value for labels, value in it.query(ours)}
    assert taken == pytest.approx(expected, rel=1e-9)  # VictoriaMetrics keeps some twelve digits


@pytest.mark.parametrize("name", SCRAPERS)
def test_no_scrape_fails_and_nothing_is_complained_of(scraped: Scraped, name: str) -> None:
    it = scraped.scrapers[name]
    eventually(lambda: len(it.query("count_over_time(up[1m]) > 2")) == len(MODES), "a few scrapes of each")
    assert {labels["job"]: value for labels, value in it.query("min_over_time(up[1m])")} == dict.fromkeys(
        MODES, 1
    )
    for target in it.get("targets")["activeTargets"]:
        assert (target["health"], target["lastError"]) == ("up", "")
    assert it.complaints() == []
