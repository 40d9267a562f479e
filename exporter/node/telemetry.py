"""The own metrics of a node's exporter; those of each worker are `worker.telemetry`'s."""

from collections.abc import Callable, Mapping

from exporter.service.own_metrics import OwnMetrics, Told
from exporter.worker.telemetry import PHASES, own_names

_METRICS = {
    "smg_exporter_discovery_denied_processes": ("Processes that the exporter may not look into.",),
    "smg_exporter_discovery_duration_seconds": ("Seconds that the last look at all processes took.",),
    "smg_exporter_scrape_duration_seconds": (
        "Seconds that the last scrape of all workers took, by phase.",
        "phase",
    ),
    "smg_exporter_scrapes_total": ("Scrapes by HTTP status code; 499: the client went away.", "code"),
    "smg_exporter_workers": (
        "Workers by state: live, down (ended), unreadable (directory), left_out (beyond --max-workers).",
        "state",
    ),
}


class Facts:
    """What own metrics tell of, replaced by each look."""

    workers: Mapping[str, int] = {}
    """The number of workers by state."""
    denied = 0
    """The number of processes that may not be looked into."""
    seconds = 0.0
    """Seconds that the last look took."""


class Telemetry(OwnMetrics):
    """The metrics of the process and of discovery."""

    def __init__(self, facts: Facts, durations: Callable[[], Mapping[str, float]] = dict) -> None:
        """`durations` returns the seconds of the last scrape by phase."""
        super().__init__(_METRICS, lambda: _values(facts, durations()), PHASES)


def all_own_names() -> set[str]:
    """Return every name that own metrics may take up in an exposition."""
    return Telemetry(Facts()).names | own_names()


def _values(facts: Facts, durations: Mapping[str, float]) -> Mapping[str, Told]:
    states = ("live", "down", "unreadable", "left_out")
    return {
        "smg_exporter_discovery_denied_processes": {(): facts.denied},
        "smg_exporter_discovery_duration_seconds": {(): facts.seconds},
        "smg_exporter_scrape_duration_seconds": {(phase,): durations.get(phase, 0.0) for phase in PHASES},
        "smg_exporter_workers": {(state,): facts.workers.get(state, 0) for state in states},
    }
