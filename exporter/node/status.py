"""The status of a node's exporter: the data behind `/`, `/status.json`, `/readyz` and `/sd`."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class MemberStatus:
    """One worker of this host. Times are Unix seconds."""

    name: str
    """What `?worker=` calls it."""
    state: str
    """`live`, or `down`: its last process has ended."""
    directory: str
    labels: Mapping[str, str]
    """The labels on all its series."""
    pids: tuple[int, ...]
    """Its processes, in the exporter's pid namespace."""
    command: str
    """The command line of its server, else of its first process."""
    problem: str = ""
    """Why it has nothing to serve, or what is wrong with it; empty if nothing is."""
    series: int = 0
    process_counts: Mapping[str, int] = field(default_factory=dict)
    """The number of processes that wrote files, by state."""
    file_counts: Mapping[str, int] = field(default_factory=dict)
    """The number of files by state."""
    last_update: float | None = None


@dataclass(frozen=True)
class NodeStatus:
    """The status of the exporter, and of the workers that it serves. Times are Unix seconds, durations seconds."""

    version: str
    node_name: str
    started: float
    problem: str
    """Why no worker can be found; empty if nothing stands in the way."""
    workers: tuple[MemberStatus, ...] = ()
    left_out: int = 0
    """Number of workers that are not served, as there are more than `--max-workers`."""
    processes: int = 0
    """The number of processes that can be seen."""
    denied: Mapping[str, int] = field(default_factory=dict)
    """How many processes may not be looked into, by user."""
    way_in: str = ""
    """How they may be looked into."""
    hidden: str = ""
    """Why other users' processes cannot even be seen; empty if they can."""
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """Why directories of metrics cannot be opened, by path."""
    discovery_seconds: float = 0.0
    """How long the last look at all processes took."""
    last_scrape: float | None = None
    scrape_durations: Mapping[str, float] = field(default_factory=dict)
    """Seconds of the last scrape of all workers by phase: read, merge, render, compress."""

    def as_json(self) -> dict[str, Any]:
        """Return the status as plain JSON values."""
        return {"ready": not self.problem, **asdict(self)}
