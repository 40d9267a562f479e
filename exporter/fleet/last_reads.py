"""What the last fan-out gave of each target, for the engine view."""

from collections.abc import Callable
from functools import partial

from exporter.engine.meanings import meaning_of
from exporter.fleet.fanout import Fanout
from exporter.fleet.sources import Discovery
from exporter.model import Snapshot
from exporter.scraping.reading import Reading
from exporter.scraping.snapshots import Snapshots
from exporter.service.engine_views import Read, Reads

_UP = {"up": True, "dead": False, "down": False}


class LastReads:
    """Makes snapshots of what targets answered: only of families that mean something, as there may be many targets."""

    def __init__(self, discovery: Discovery, fanout: Fanout) -> None:
        self._discovery = discovery
        self._fanout = fanout
        self._snapshots: dict[str, Snapshots] = {}

    def all(self) -> Reads:
        """Return the last read of each target, by its metrics URL."""
        outcomes, known, self._snapshots = self._fanout.outcomes, self._snapshots, {}
        reads = {}
        for target in self._discovery.targets:
            url = target.metrics_url
            self._snapshots[url] = known.get(url) or Snapshots(_means_something)
            outcome = outcomes.get(url)
            reads[url] = Read(
                {"worker_addr": target.worker_addr},
                self._snapshot(url, outcome.reading) if outcome and outcome.reading else None,
                _UP[outcome.state] if outcome else None,
            )
        return reads

    def _snapshot(self, url: str, reading: Reading) -> Callable[[], Snapshot]:
        return partial(self._snapshots[url].take, reading)


def _means_something(name: str, metric_type: str) -> bool:
    return meaning_of(name, metric_type) is not None
