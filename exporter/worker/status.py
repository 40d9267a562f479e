"""The facts an operator asks for: what `/`, `/status.json`, `/readyz` and the exporter's own metrics answer from."""

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
    """Its writer's, or `skipped`."""
    reason: str = ""
    """Why it, or a part of it, is left out; empty when it is not."""


@dataclass(frozen=True)
class ProcessStatus:
    """One process that wrote files."""

    pid: str
    """Or whatever its files' names have in the place of a pid."""
    state: str
    """`live`, `dead` or `unknown`."""


@dataclass(frozen=True)
class Summary:
    """What the exporter knows at one moment, but for the lists. Times are Unix seconds, durations seconds."""

    version: str
    worker_addr: str
    collector: str
    """`incremental` or `stock`."""
    directory: str
    problem: str
    """Why the directory cannot be read or holds nothing readable, or how far the first read is; empty when ready."""
    worker_up: bool | None
    """Whether some writer lives; None while liveness is unknown."""
    started: float
    directory_readable: bool = True
    process_counts: Mapping[str, int] = field(default_factory=dict)
    """How many processes wrote files, by state."""
    file_counts: Mapping[str, int] = field(default_factory=dict)
    """How many files there are, by state, and how many went while others stayed (`removed`)."""
    series: int = 0
    last_scrape: float | None = None
    scrape_durations: Mapping[str, float] = field(default_factory=dict)
    """Seconds of the last scrape by phase: read, merge, render, compress."""
    last_update: float | None = None
    file_errors: Mapping[str, int] = field(default_factory=dict)
    """Skipped files and samples since start, by reason."""

    @property
    def ready(self) -> bool:
        """Whether the directory holds at least one readable file, and the first read of it has ended."""
        return not self.problem

    def as_json(self) -> dict[str, Any]:
        """Return the same facts as plain JSON values."""
        return {"ready": self.ready, **asdict(self)}


@dataclass(frozen=True)
class Status(Summary):
    """The whole of it: a summary, and every process and file."""

    processes: tuple[ProcessStatus, ...] = ()
    files: tuple[FileStatus, ...] = ()
