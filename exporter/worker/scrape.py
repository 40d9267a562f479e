"""One scrape: snapshot -> read what changed -> merge -> render -> compress -> bytes.

A scrape runs in a thread beside the event loop, one at a time. Scrapes that wait for the next read share it; a read
that has begun takes no more scrapes, so that no answer holds values older than its request.
"""

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Protocol, TypeAlias

from exporter.errors import ScrapeError
from exporter.exposition.compression import Encoder
from exporter.exposition.negotiation import Escaping, Representation
from exporter.exposition.text import Renderer, ending
from exporter.model import Format, Snapshot
from exporter.multiproc.engine import Progress
from exporter.multiproc.faults import Fault
from exporter.service.coalescing import Coalescer
from exporter.threads import DaemonThread, settle


class Collector(Protocol):
    """Merges a worker's files; `--collector` selects one. Attributes hold the results of the last update."""

    snapshot: Snapshot
    """All families and values at the last update."""
    errors: Counter[str]
    """The number of files and samples left out since the start, by reason."""
    refused: Mapping[str, Fault]
    """Why files cannot be read, by file name."""
    left_out: Mapping[str, Fault]
    """Why samples of files are left out, by file name."""
    last_stamp: float
    """The newest time stamp of a gauge, in Unix seconds; 0 if there is none."""
    moved: Collection[str]
    """Writers not known to live that changed a file between the last two reads."""
    observed_change: bool
    """Whether the last update found a changed value."""
    read_seconds: float
    """Seconds of the last update that were spent on reading files."""

    @property
    def progress(self) -> Progress | None:
        """The progress of the first read of a worker's files; None once it has ended."""

    @property
    def overdue(self) -> bool:
        """Whether refused files are due to be looked at that the last update had no time for."""

    def update(self) -> None:
        """Read and merge the files as they are now; ScrapeError if none can be served."""


_MOST_OUTPUTS = 3
"""Formats and escaping schemes whose texts are kept: each takes some MiB, and any client may ask for any."""

Bodies: TypeAlias = Mapping[Representation, bytes]


class _Batch:
    """Scrapes that wait for the same read."""

    def __init__(self) -> None:
        self.representations: set[Representation] = set()
        self.waiters: list[asyncio.Future[Bodies]] = []


class _Output:
    """Renderers and encoder for one format and escaping scheme; each keeps its last output for reuse."""

    def __init__(self, format_: Format, escaping: Escaping, own_names: Collection[str]) -> None:
        self.worker = Renderer(format_, escaping, own_names)
        self.own = Renderer(format_, escaping)
        self.encoder = Encoder()


class Scraper:
    """Answers scrapes with the worker's metrics and the exporter's own."""

    def __init__(
        self,
        engine: Collector,
        own_metrics: Callable[[], Snapshot],
        on_update: Callable[[], None],
        observe: Callable[[Mapping[str, float]], None],
        own_names: Collection[str] = (),
    ) -> None:
        """Serve the engine's metrics, followed by `own_metrics`; call `on_update` after each update of the engine.

        `observe` gets the seconds that a scrape took, by phase. `own_names` are all names that `own_metrics` may use.
        """
        self.durations: dict[str, float] = {}
        """Seconds that the last scrape took, by phase."""
        self.last_scrape: float | None = None
        """When the last scrape ended, in Unix seconds."""
        self.problem = ""
        """Why the last read failed; empty if it succeeded."""
        self.busy_since: float | None = None
        """When the running read began, in seconds of the monotonic clock; None if none is running."""
        self._engine = engine
        self._own_metrics = own_metrics
        self._own_names = own_names
        self._observe = observe
        self._on_update = on_update
        self._outputs: OrderedDict[tuple[Format, Escaping], _Output] = OrderedDict()
        self._thread = DaemonThread()  # one for all reads: each thread would take a malloc arena of its own
        self._batches = Coalescer(_Batch, self._begin)

    async def scrape(self, wanted: Representation, timeout: float) -> bytes:  # noqa: ARG002, ASYNC109 - the caller cancels at the timeout
        """Return the body in the representation `wanted`, from a read that starts after this call."""
        bodies: asyncio.Future[Bodies] = asyncio.get_running_loop().create_future()
        batch = self._batches.join()
        batch.representations.add(wanted)
        batch.waiters.append(bodies)
        return (await bodies)[wanted]

    def delay(self) -> str:
        """Return the progress of an unfinished first read, for which scrapes wait; an empty text if there is none."""
        progress = self._engine.progress
        if progress is None or not progress.total:
            return ""
        return f"read {progress.read:,} of {progress.total:,} files so far"

    def refresh(self) -> None:
        """Schedule a read, even if no scrape asks for one."""
        self._batches.join()

    async def read(self) -> None:
        """Read the files, and wait until they are read. An error is ignored: the next scrape meets it too."""
        bodies: asyncio.Future[Bodies] = asyncio.get_running_loop().create_future()
        self._batches.join().waiters.append(bodies)
        await asyncio.wait([bodies])
        bodies.exception()

    def _begin(self, batch: _Batch) -> None:
        self.busy_since = time.monotonic()
        self._thread.submit(partial(self.bodies, batch.representations), partial(self._finish, batch))

    def _finish(self, batch: _Batch, bodies: Bodies | None, error: BaseException | None) -> None:
        """Hand the result of a read to all scrapes that wait for it."""
        self.busy_since = None
        for waiter in batch.waiters:
            settle(waiter, bodies, error)
        self._batches.done()

    def bodies(self, representations: Iterable[Representation]) -> dict[Representation, bytes]:
        """Read once, and return a body for each of `representations`; only read if there are none. Blocks."""
        start = time.perf_counter()
        try:
            self._engine.update()
        except ScrapeError as error:
            self.problem = str(error)
            raise
        self.problem = ""
        self._on_update()
        spent = {
            "read": self._engine.read_seconds,
            "merge": time.perf_counter() - start - self._engine.read_seconds,
        }
        spent["render"] = spent["compress"] = 0.0
        bodies = {}
        for wanted in representations:
            start = time.perf_counter()
            output = self._output(wanted)
            own = b"".join([*output.own.render(self._own_metrics()), ending(wanted.format)])
            worker = output.worker.render(self._engine.snapshot)
            rendered = time.perf_counter()
            bodies[wanted] = b"".join(output.encoder.encode(wanted.encoding, worker, own))
            spent["render"] += rendered - start
            spent["compress"] += time.perf_counter() - rendered
        if bodies:
            self.durations = spent
            self._observe(spent)
            self.last_scrape = time.time()
        return bodies

    def _output(self, wanted: Representation) -> _Output:
        key = wanted.format, wanted.escaping
        if key not in self._outputs:
            self._outputs[key] = _Output(*key, self._own_names)
        self._outputs.move_to_end(key)
        if len(self._outputs) > _MOST_OUTPUTS:
            self._outputs.popitem(last=False)
        return self._outputs[key]
