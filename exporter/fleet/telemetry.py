"""The fleet's own metrics: `/metrics` serves all of them, `/engine_metrics` those per target."""

from collections.abc import Iterable, Mapping, Sequence

from exporter.fleet.fanout import PHASES, Fanout, Outcomes
from exporter.fleet.sources import Discovery
from exporter.fleet.targets import Target
from exporter.model import Snapshot
from exporter.scraping.admission import LEFT_OUT
from exporter.scraping.client import REASONS
from exporter.service.own_metrics import OwnMetrics, Told, by_label, make_metrics

_OF_TARGETS = {
    "smg_exporter_target_samples": ("Samples in the last scrape of a target.", "worker_addr"),
    "smg_exporter_target_scrape_duration_seconds": (
        "Seconds that the last scrape of a target took.",
        "worker_addr",
    ),
    "smg_exporter_target_up": ("1 if the last scrape of a target brought metrics, else 0.", "worker_addr"),
}
_METRICS = {
    **_OF_TARGETS,
    "smg_exporter_discovery_last_success_timestamp_seconds": (
        "Unix time of the last successful refresh of a target source.",
        "source",
    ),
    "smg_exporter_discovery_skipped": (
        "Invalid entries, skipped in the last successful refresh of a target source.",
        "source",
    ),
    "smg_exporter_discovery_targets": (
        "Targets in the last successful refresh of a target source.",
        "source",
    ),
    "smg_exporter_discovery_up": ("1 if the last refresh of a target source succeeded, else 0.", "source"),
    "smg_exporter_left_out_total": (
        "Families and samples left out of answers; the rest of their worker was served.",
        "reason",
    ),
    "smg_exporter_scrape_duration_seconds": (
        "Seconds that the last scrape of the fleet took, by phase.",
        "phase",
    ),
    "smg_exporter_scrapes_total": (
        "Scrapes of the fleet by HTTP status code; 499: the client went away.",
        "code",
    ),
    "smg_exporter_target_failures_total": ("Failed scrapes of targets, by reason.", "reason"),
    "smg_exporter_targets": ("Known targets; several with the same metrics URL count once.",),
}


class Telemetry:
    """The fleet's own metrics: scrape counts, and the state of fan-out and discovery."""

    def __init__(self, discovery: Discovery, fanout: Fanout) -> None:
        self.registry = OwnMetrics(_METRICS, lambda: _values(discovery, fanout), PHASES)
        self.count_scrape = self.registry.count_scrape


def target_metrics(targets: Sequence[Target], outcomes: Outcomes) -> Snapshot:
    """Return the metrics per target, from the outcome of each target's last scrape."""
    values = _of_targets(targets, outcomes)
    return [metric.tell(values[name]) for name, metric in make_metrics(_OF_TARGETS).items()]


def _of_targets(
    targets: Sequence[Target], outcomes: Outcomes
) -> Mapping[str, Mapping[tuple[str, ...], float]]:
    """Return the values of the metrics per target. A target without an outcome is not up."""
    known = {
        (target.worker_addr,): outcomes[target.metrics_url]
        for target in targets
        if target.metrics_url in outcomes
    }
    up = {worker: outcome.reading is not None for worker, outcome in known.items()}
    return {
        "smg_exporter_target_samples": {worker: outcome.samples for worker, outcome in known.items()},
        "smg_exporter_target_scrape_duration_seconds": {
            worker: outcome.seconds for worker, outcome in known.items()
        },
        "smg_exporter_target_up": {
            (target.worker_addr,): up.get((target.worker_addr,), False) for target in targets
        },
    }


def _values(discovery: Discovery, fanout: Fanout) -> Mapping[str, Told]:
    targets, sources = discovery.targets, discovery.sources
    return {
        **_of_targets(targets, fanout.outcomes),
        "smg_exporter_discovery_last_success_timestamp_seconds": {
            (one.name,): one.last_success for one in sources
        },
        "smg_exporter_discovery_skipped": {(one.name,): one.skipped for one in sources},
        "smg_exporter_discovery_targets": {(one.name,): len(one.targets) for one in sources},
        "smg_exporter_discovery_up": {(one.name,): not one.problem for one in sources},
        "smg_exporter_left_out_total": _counts(fanout.left_out, LEFT_OUT),
        "smg_exporter_scrape_duration_seconds": {
            (phase,): seconds for phase, seconds in fanout.durations.items()
        },
        "smg_exporter_target_failures_total": _counts(fanout.failures, REASONS),
        "smg_exporter_targets": {(): len(targets)},
    }


def _counts(counts: Mapping[str, int], always: Iterable[str]) -> Told:
    """Return counts by reason. Those of `always` start at 0: `rate()` misses the first event of a new series."""
    return by_label({**dict.fromkeys(always, 0), **counts})
