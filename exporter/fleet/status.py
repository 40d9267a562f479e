"""The facts of the fleet that an operator asks for: what `/`, `/status.json`, `/readyz` and `/sd` answer from."""

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
    """One target, and what came of its last scrape."""

    worker_addr: str
    metrics_url: str
    state: str
    """`up`, `down`, or `unknown` before its first scrape."""
    problem: str = ""
    seconds: float | None = None
    samples: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SourceStatus:
    """One source of targets."""

    name: str
    targets: int
    skipped: int
    problem: str
    """Why its last reading failed; empty when it did not."""
    last_success: float | None


@dataclass(frozen=True)
class FleetStatus:
    """What is known at one moment. Times are Unix seconds, durations seconds."""

    started: float
    problem: str
    """Why there is no target; empty where there is one."""
    targets: tuple[TargetStatus, ...] = ()
    sources: tuple[SourceStatus, ...] = ()
    last_scrape: float | None = None
    scrape_durations: Mapping[str, float] = field(default_factory=dict)
    version: str = __version__

    def as_json(self) -> dict[str, Any]:
        """Return the same facts as plain JSON values."""
        return {"ready": not self.problem, **asdict(self)}


class Observer:
    """Tells the status of a fleet."""

    def __init__(self, discovery: Discovery, fanout: Fanout) -> None:
        self._started = time.time()
        self._discovery = discovery
        self._fanout = fanout

    def status(self) -> FleetStatus:
        """Return the facts as they are known now."""
        outcomes = self._fanout.outcomes
        return FleetStatus(
            started=self._started,
            problem=self._discovery.problem,
            targets=tuple(
                _target(target, outcomes.get(target.metrics_url)) for target in self._discovery.targets
            ),
            sources=tuple(
                SourceStatus(
                    source.name, len(source.targets), source.skipped, source.problem, source.last_success
                )
                for source in self._discovery.sources
            ),
            last_scrape=self._fanout.last_scrape,
            scrape_durations=dict(self._fanout.durations),
        )

    @property
    def problem(self) -> str:
        """Why there is no target; empty where there is one."""
        return self._discovery.problem

    def sd_groups(self) -> list[dict[str, Any]]:
        """Return the targets in the form of Prometheus' HTTP service discovery."""
        return [_sd_group(target) for target in self._discovery.targets]


def _target(target: Target, outcome: Outcome | None) -> TargetStatus:
    if outcome is None:
        return TargetStatus(target.worker_addr, target.metrics_url, "unknown", labels=target.labels)
    return TargetStatus(
        target.worker_addr,
        target.metrics_url,
        "down" if outcome.reading is None else "up",
        outcome.problem,
        outcome.seconds,
        outcome.samples,
        target.labels,
    )


def _sd_group(target: Target) -> dict[str, Any]:
    url = urlsplit(target.metrics_url)
    default_port = 443 if url.scheme == "https" else 80
    labels = {
        **target.labels,
        "worker_addr": target.worker_addr,
        "__scheme__": url.scheme,
        "__metrics_path__": url.path,
        **_parameters(parse_qsl(url.query, keep_blank_values=True)),
    }
    return {"targets": [url.netloc if url.port else f"{url.netloc}:{default_port}"], "labels": labels}


def _parameters(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for name, value in pairs:
        parameters.setdefault(f"__param_{name}", value)  # of several, Prometheus' label holds the first
    return parameters
