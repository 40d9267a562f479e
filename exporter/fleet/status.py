"""A fleet's status: the data behind `/`, `/status.json`, `/readyz` and `/sd`."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from exporter import __version__
from exporter.fleet.fanout import Fanout, Outcome
from exporter.fleet.sources import Discovery
from exporter.fleet.targets import Target


@dataclass(frozen=True)
class TargetStatus:
    """A target, and the outcome of its last scrape."""

    worker_addr: str
    metrics_url: str
    state: str
    """`up`, `dead` or `down`, as an outcome's; `unknown` before the first scrape."""
    problem: str = ""
    seconds: float | None = None
    samples: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    listed: bool = True
    """Whether options or sources list it still; False for one that vanished while it was down."""


@dataclass(frozen=True)
class SourceStatus:
    """One source of targets."""

    name: str
    targets: int
    skipped: int
    problem: str
    """Why the last refresh failed; empty if it succeeded."""
    last_success: float | None
    reasons: tuple[str, ...] = ()
    """Why entries were skipped: of the first few."""


@dataclass(frozen=True)
class FleetStatus:
    """A fleet's status. Times are Unix seconds, durations seconds."""

    started: float
    problem: str
    """Why there are no targets; empty if there are some."""
    targets: tuple[TargetStatus, ...] = ()
    sources: tuple[SourceStatus, ...] = ()
    last_scrape: float | None = None
    scrape_durations: Mapping[str, float] = field(default_factory=dict)
    version: str = __version__

    def as_json(self) -> dict[str, Any]:
        """Return the status as plain JSON values."""
        return {"ready": not self.problem, **asdict(self)}


class Observer:
    """Collects the status of a fleet from discovery and fan-out."""

    def __init__(self, discovery: Discovery, fanout: Fanout) -> None:
        self._started = time.time()
        self._discovery = discovery
        self._fanout = fanout

    def status(self) -> FleetStatus:
        """Return the present status."""
        outcomes, listed = self._fanout.outcomes, self._discovery.listed
        return FleetStatus(
            started=self._started,
            problem=self._discovery.problem,
            targets=tuple(
                _target(target, outcomes.get(target.metrics_url), listed=target.worker_addr in listed)
                for target in self._discovery.targets
            ),
            sources=tuple(
                SourceStatus(
                    source.name,
                    len(source.targets),
                    source.skipped,
                    source.problem,
                    source.last_success,
                    source.reasons,
                )
                for source in self._discovery.sources
            ),
            last_scrape=self._fanout.last_scrape,
            scrape_durations=dict(self._fanout.durations),
        )

    @property
    def problem(self) -> str:
        """Why there are no targets; empty if there are some."""
        return self._discovery.problem

    @property
    def unread(self) -> str:
        """Why targets may be missing: which sources have not been read yet; empty if all have."""
        return self._discovery.unread

    def sd_groups(self) -> list[dict[str, Any]]:
        """Return the targets as Prometheus' HTTP service discovery (http_sd) expects them."""
        return [_sd_group(target) for target in self._discovery.targets]


def _target(target: Target, outcome: Outcome | None, *, listed: bool) -> TargetStatus:
    if outcome is None:
        return TargetStatus(
            target.worker_addr, target.metrics_url, "unknown", labels=target.labels, listed=listed
        )
    return TargetStatus(
        target.worker_addr,
        target.metrics_url,
        outcome.state,
        outcome.problem,
        outcome.seconds,
        outcome.samples,
        target.labels,
        listed,
    )


def _sd_group(target: Target) -> dict[str, Any]:
    url = urlsplit(target.metrics_url)
    default_port = 443 if url.scheme == "https" else 80
    labels = {
        **{f"__meta_smg_{name}": value for name, value in target.labels.items()},
        "worker_addr": target.worker_addr,  # the only label that lands on series
        "__scheme__": url.scheme,
        "__metrics_path__": url.path,
        **_parameters(parse_qsl(url.query, keep_blank_values=True)),
    }
    return {"targets": [url.netloc if url.port else f"{url.netloc}:{default_port}"], "labels": labels}


def _parameters(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for name, value in pairs:
        parameters.setdefault(f"__param_{name}", value)  # Prometheus' label sets only the first value
    return parameters
