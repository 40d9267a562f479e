"""A worker's status: the data behind `/`, `/status.json`, `/readyz` and the exporter's own metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from exporter.multiproc.engine import Progress
    from exporter.multiproc.fileset import FileSet

PROCESS_STATES = ("live", "dead", "unknown")
FILE_STATES = (*PROCESS_STATES, "removed", "skipped")


def problem(
    files: "FileSet", *, directory: str, failure: str, progress: "Progress | None", readable: int
) -> str:
    """Return why none of the worker's metrics can be served, for `/readyz` above all; an empty text if they can.

    `directory` is its name for people, `failure` that of the last read, `progress` that of the first one, and
    `readable` the number of files that count.
    """
    if reason := files.problem or failure:
        return reason
    if not files.listing:
        return f"{directory}: not listed yet"
    if files.files and progress:
        return f"{directory}: {how_far(progress.read, len(files.files))}"
    if readable:
        return ""
    if count := len(files.files) + len(files.skipped):
        return f"{directory}: none of its {count} .db files can be read"
    return f"{directory}: no .db file yet; is the worker running, with PROMETHEUS_MULTIPROC_DIR set to it?"


def how_far(read: int, total: int) -> str:
    """Return how far a first read of `total` files is; after the last one, their values are merged."""
    return f"read {read:,} of {total:,} files so far" if read < total else f"merging the {total:,} files read"


@dataclass(frozen=True)
class FileStatus:
    """One `.db` file of the worker's directory."""

    name: str
    state: str
    """`live`, `dead` or `unknown`, as the file's writer is; or `skipped`."""
    reason: str = ""
    """Why the file, or a part of it, is left out; empty if nothing is."""


@dataclass(frozen=True)
class ProcessStatus:
    """One process that wrote files."""

    pid: str
    """The pid, or the text in its place in the files' names."""
    state: str
    """`live`, `dead` or `unknown`."""


@dataclass(frozen=True)
class Summary:
    """A worker's status without lists of processes and files. Times are Unix seconds."""

    directory: str
    problem: str
    """Why the directory has nothing to serve, or the progress of the first read; empty if ready."""
    worker_up: bool | None
    """Whether some writer is alive; None if that is unknown."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """The labels on every series of the worker."""
    directory_readable: bool = True
    process_counts: Mapping[str, int] = field(default_factory=dict)
    """The number of processes that wrote files, by state."""
    file_counts: Mapping[str, int] = field(default_factory=dict)
    """The number of files by state. `removed`: files that vanished while others stayed."""
    series: int = 0
    last_update: float | None = None
    file_errors: Mapping[str, int] = field(default_factory=dict)
    """Skipped files and samples since start, by reason."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Answers without this worker since start, by reason."""

    @property
    def ready(self) -> bool:
        """Whether the directory holds at least one readable file, and its first read has ended."""
        return not self.problem

    @property
    def worker_addr(self) -> str:
        """The worker's address; empty if no label says one."""
        return self.labels.get("worker_addr", "")


@dataclass(frozen=True)
class WorkerStatus(Summary):
    """A summary, and the lists of all processes and files."""

    processes: tuple[ProcessStatus, ...] = ()
    files: tuple[FileStatus, ...] = ()


@dataclass(frozen=True)
class AlsoStatus:
    """What the last fetch of an exposition of `--also` brought."""

    url: str
    up: bool | None = None
    """Whether it could be read; None before the first fetch."""
    problem: str = ""
    """Why it could not be read."""
    samples: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Lines, series and families left out of answers since start, by reason."""


@dataclass(frozen=True)
class Status:
    """The status of the exporter and of all its workers. Times are Unix seconds, durations seconds."""

    version: str
    collector: str
    """`incremental` or `stock`."""
    started: float
    workers: tuple[WorkerStatus, ...]
    last_scrape: float | None = None
    scrape_durations: Mapping[str, float] = field(default_factory=dict)
    """Seconds of the last scrape by phase: read, merge, render, compress."""
    also: tuple[AlsoStatus, ...] = ()

    @property
    def problem(self) -> str:
        """Why no worker's metrics can be served; empty if those of one can."""
        return common_problem(self.workers)

    def name_of(self, worker: Summary) -> str:
        """Return the labels that tell a worker from the others; its directory, if there are none."""
        common = set.intersection(*(set(other.labels.items()) for other in self.workers))
        own = (f"{name}={value}" for name, value in worker.labels.items() if (name, value) not in common)
        return ", ".join(own) or worker.directory

    def as_json(self) -> dict[str, Any]:
        """Return the status as plain JSON values; the facts of a lone worker stand beside the exporter's."""
        facts = {"ready": not self.problem, **asdict(self)}
        workers = [
            {"ready": worker.ready, "worker_addr": worker.worker_addr, **asdict(worker)}
            for worker in self.workers
        ]
        if len(workers) == 1:
            del facts["workers"], workers[0]["left_out"]
            return workers[0] | facts
        return facts | {"workers": workers}


def common_problem(workers: Sequence[Summary]) -> str:
    """Return why none of the workers' metrics can be served; an empty text if those of one can."""
    if not workers:
        return "no worker yet"
    if any(worker.ready for worker in workers):
        return ""
    others = len(workers) - 1
    return workers[0].problem + (
        f"; {others} more worker{'s' * (others > 1)} cannot be served either" if others else ""
    )
