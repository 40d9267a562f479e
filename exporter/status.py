"""The facts an operator asks for: what `/`, `/status.json` and `/readyz` answer from."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

PROCESS_STATES = ("live", "dead", "unknown")
FILE_STATES = (*PROCESS_STATES, "removed", "skipped")


@dataclass(frozen=True)
class FileStatus:
    """One `.db` file of the worker's directory."""

    name: str
    state: str
    """Its writer's, or `removed`, or `skipped`."""
    reason: str = ""
    """Why it, or a part of it, is left out; empty when it is not."""


@dataclass(frozen=True)
class ProcessStatus:
    """One process that wrote files."""

    pid: str
    state: str
    """`live`, `dead` or `unknown`."""


@dataclass(frozen=True)
class Status:
    """What the exporter knows at one moment. Times are Unix seconds, durations seconds, sizes bytes."""

    version: str
    worker_addr: str
    directory: str
    problem: str
    """Why the directory cannot be read or holds nothing readable; empty when ready."""
    worker_up: bool | None
    """Whether some writer lives; None while liveness is unknown."""
    started: float
    directory_readable: bool = True
    processes: tuple[ProcessStatus, ...] = ()
    files: tuple[FileStatus, ...] = ()
    series: int = 0
    last_scrape: float | None = None
    scrape_durations: Mapping[str, float] = field(default_factory=dict)
    """Seconds of the last scrape by phase: read, merge, render, compress."""
    last_update: float | None = None
    file_errors: Mapping[str, int] = field(default_factory=dict)
    """Skipped files and samples since start, by reason."""

    @property
    def ready(self) -> bool:
        """Whether the directory holds at least one readable file."""
        return not self.problem

    def as_json(self) -> dict[str, Any]:
        """Return the same facts as plain JSON values."""
        return {"ready": self.ready, **asdict(self)}
