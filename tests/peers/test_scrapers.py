"""Each way of serving a worker, scraped by Prometheus and by VictoriaMetrics: both take every series as it is."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pytest

from exporter.paths import FLEET_METRICS, WORKER_METRICS
from tests.support.daemon import Daemon, daemon
from tests.support.scrapers import Scraper, prometheus, victoria_metrics
from tests.support.waiting import eventually

pytestmark = pytest.mark.peer

SERIES = 6402
"""Those of the recorded worker with eight ranks."""

Values: TypeAlias = Mapping[frozenset[tuple[str, str]], float]
"""Values of series by their labels, the name as `__name__`."""


@contextmanager
def serve(worker: Path) -> Iterator[Daemon]:
    with daemon(worker, "--liveness=off") as running:
        yield running


@contextmanager
def several(worker: Path) -> Iterator[Daemon]:
    """Two workers in one answer, of which the second has written nothing yet."""
    empty = worker.with_name("empty")
    empty.mkdir()
    workers = (f"--multiproc-dir={worker},rank=0", f"--multiproc-dir={empty},rank=1")
    with daemon(worker, "--liveness=off", *workers) as running:
        yield running


@contextmanager
def fleet(worker: Path) -> Iterator[Daemon]:
    with serve(worker) as one, daemon(worker, "fleet", f"--worker=grpc://w:1={one.url}/metrics") as running:
        yield running


MODES: Mapping[str, tuple[Callable[[Path], AbstractContextManager[Daemon]], str]] = {
    "serve": (serve, WORKER_METRICS),
    "several": (several, WORKER_METRICS),
    "fleet": (fleet, FLEET_METRICS),
}
"""What runs a worker's exporter, and the path of the worker's metrics there."""
SCRAPERS = {"prometheus": prometheus, "victoria-metrics": victoria_metrics}


@dataclass(frozen=True)
class Scraped:
    """The daemon of each mode, and the scrapers, which have a job for each."""

    daemons: Mapping[str, Daemon]
    scrapers: Mapping[str, Scraper]


@pytest.fixture(scope="module", name="scraped")
def _scraped(recorded: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    directory = tmp_path_factory.mktemp("scrapers")
    worker = directory / "worker"
    worker.symlink_to(recorded["tp8"])
    every = {"scrape_interval": "1s", "scrape_timeout": "1s"}
    jobs = {mode: {"metrics_path": path, **every} for mode, (_, path) in MODES.items()}
    with ExitStack() as stack:
        daemons = {mode: stack.enter_context(run(worker)) for mode, (run, _) in MODES.items()}
        scrapers = {
            name: stack.enter_context(scraper(directory, daemons, **jobs))
            for name, scraper in SCRAPERS.items()
        }
        yield Scraped(daemons, scrapers)


def series(labels: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    """Return the labels but for those of the target. Formats differ in how they write whole numbers of `le`."""
    kept = {name: text for name, text in labels.items() if text and name not in {"job", "instance"}}
    return frozenset((name, text.removesuffix(".0") if name == "le" else text) for name, text in kept.items())


def served(mode: str, running: Daemon) -> Values:
    """Return what a worker's exporter serves of the worker."""
    exposition = running.get(MODES[mode][1]).exposition
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
    assert len(expected) == SERIES
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
