"""The fleet's own metrics: of each target for `/engine_metrics`, and all of them for `/metrics`."""

from collections.abc import Iterable, Mapping, Sequence

from exporter.fleet.client import REASONS
from exporter.fleet.fanout import Fanout, Outcomes
from exporter.fleet.merge import LEFT_OUT
from exporter.fleet.sources import Discovery
from exporter.fleet.targets import Target
from exporter.model import Snapshot
from exporter.service.own_metrics import OwnMetrics, Told, by_label, make_metrics

_OF_TARGETS = {
    "smg_exporter_target_samples": ("Samples that the last scrape of a target brought.", "worker_addr"),
    "smg_exporter_target_scrape_duration_seconds": ("What the last scrape of a target took.", "worker_addr"),
    "smg_exporter_target_up": ("Whether the last scrape of a target brought metrics.", "worker_addr"),
}
_METRICS = {
    **_OF_TARGETS,
    "smg_exporter_discovery_last_success_timestamp_seconds": ("When a source was read last.", "source"),
    "smg_exporter_discovery_skipped": (
        "Entries in the last good reading of a source that are no targets.",
        "source",
    ),
    "smg_exporter_discovery_targets": ("Targets in the last good reading of a source.", "source"),
    "smg_exporter_discovery_up": ("Whether a source of targets was read when it last was to be.", "source"),
    "smg_exporter_left_out_total": (
        "What was left out of answers, the rest of its worker being served.",
        "reason",
    ),
    "smg_exporter_scrape_duration_seconds": ("What the last answer took, by phase.", "phase"),
    "smg_exporter_scrapes_total": ("Scrapes of the fleet by HTTP status code.", "code"),
    "smg_exporter_target_failures_total": ("Failed scrapes of targets.", "reason"),
    "smg_exporter_targets": ("Targets known, each metrics URL once.",),
}


class Telemetry:
    """Counts answers, and tells as metrics what fan-out and discovery know."""

    def __init__(self, discovery: Discovery, fanout: Fanout) -> None:
        self.registry = OwnMetrics(_METRICS, lambda: _values(discovery, fanout))
        self.count_scrape = self.registry.count_scrape


def target_metrics(targets: Sequence[Target], outcomes: Outcomes) -> Snapshot:
    """Return what came of each target."""
    values = _of_targets(targets, outcomes)
    return [metric.tell(values[name]) for name, metric in make_metrics(_OF_TARGETS).items()]


def _of_targets(
    targets: Sequence[Target], outcomes: Outcomes
) -> Mapping[str, Mapping[tuple[str, ...], float]]:
    """Return what is told of targets; one without an outcome is not up."""
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
    """Return counts by reason, some of them `always`: a rate needs a zero to start from."""
    return by_label({**dict.fromkeys(always, 0), **counts})
