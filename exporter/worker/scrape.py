"""One scrape: snapshot -> read what changed -> merge -> render -> compress -> bytes.

All of it runs in a thread beside the event loop, one scrape at a time. Scrapes that wait for the same read share it; a
read that has begun takes nobody else on, so that no answer is older than its question.
"""

import asyncio
import time
from collections import Counter
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
    """What merges a worker's files, as `--collector` names it. What it found can be asked for at any time."""

    snapshot: Snapshot
    """What the files said at the last update."""
    errors: Counter[str]
    """How much was left out since the start, by reason."""
    refused: Mapping[str, Fault]
    """Why files cannot be read, by name."""
    left_out: Mapping[str, Fault]
    """Why samples of a file are left out, by its name."""
    last_stamp: float
    """The newest time at which a gauge was set, in Unix seconds; 0 where none tells."""
    moved: Collection[str]
    """Writers not known to live, a file of which changed between the last two reads."""
    observed_change: bool
    """Whether the last update found a value other than that of the update before."""
    read_seconds: float
    """What reading took, of the last update."""

    @property
    def progress(self) -> Progress | None:
        """How far the first read of a worker's files is; None when it has ended."""

    @property
    def overdue(self) -> bool:
        """Whether refused files are to be looked at that did not fit the last update."""

    def update(self) -> None:
        """Read and merge the files as they are now; ScrapeError where that fails as a whole."""


Bodies: TypeAlias = Mapping[Representation, bytes]


class _Batch:
    """Scrapes that wait for the same read."""

    def __init__(self) -> None:
        self.representations: set[Representation] = set()
        self.waiters: list[asyncio.Future[Bodies]] = []


class _Output:
    """What writes bodies in one format and under one escaping scheme. Each part keeps what it wrote last."""

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
        own_names: Collection[str] = (),
    ) -> None:
        """Serve the engine's metrics, then `own_metrics`; call `on_update` after an update.

        `own_names` are all names that `own_metrics` may use.
        """
        self.durations: dict[str, float] = {}
        """Seconds that the last scrape took, by phase."""
        self.last_scrape: float | None = None
        """When it was, in Unix seconds."""
        self.problem = ""
        """Why the last read failed; empty where it did not."""
        self.busy_since: float | None = None
        """When the read under way began, in seconds of the monotonic clock; None while there is none."""
        self._engine = engine
        self._own_metrics = own_metrics
        self._own_names = own_names
        self._on_update = on_update
        self._outputs: dict[tuple[Format, Escaping], _Output] = {}
        self._thread = DaemonThread()  # always the same: each thread has memory of its own
        self._batches = Coalescer(_Batch, self._begin)

    async def scrape(self, wanted: Representation, timeout: float) -> bytes:  # noqa: ARG002, ASYNC109 - the caller cancels at its end
        """Return a body in the representation's format and encoding, of a read that starts after this call."""
        bodies: asyncio.Future[Bodies] = asyncio.get_running_loop().create_future()
        batch = self._batches.join()
        batch.representations.add(wanted)
        batch.waiters.append(bodies)
        return (await bodies)[wanted]

    def delay(self) -> str:
        """Say what a scrape may have to wait for; empty where it is nothing out of the ordinary."""
        progress = self._engine.progress
        if progress is None or not progress.total:
            return ""
        return f"read {progress.read:,} of {progress.total:,} files so far"

    def refresh(self) -> None:
        """See to it that the files are read soon, whether or not somebody scrapes."""
        self._batches.join()

    async def read(self) -> None:
        """Read the files, and wait for the end of it. What goes wrong, the next scrape will tell."""
        bodies: asyncio.Future[Bodies] = asyncio.get_running_loop().create_future()
        self._batches.join().waiters.append(bodies)
        await asyncio.wait([bodies])
        bodies.exception()

    def _begin(self, batch: _Batch) -> None:
        self.busy_since = time.monotonic()
        self._thread.submit(partial(self.bodies, batch.representations), partial(self._finish, batch))

    def _finish(self, batch: _Batch, bodies: Bodies | None, error: BaseException | None) -> None:
        """Tell those who waited for a read."""
        self.busy_since = None
        for waiter in batch.waiters:
            settle(waiter, bodies, error)
        self._batches.done()

    def bodies(self, representations: Iterable[Representation]) -> dict[Representation, bytes]:
        """Perform one scrape for all `representations`, or only read where there is none; blocks."""
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
            self.last_scrape = time.time()
        return bodies

    def _output(self, wanted: Representation) -> _Output:
        key = wanted.format, wanted.escaping
        if key not in self._outputs:
            self._outputs[key] = _Output(*key, self._own_names)
        return self._outputs[key]
