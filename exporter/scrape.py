"""One scrape: snapshot -> read what changed -> merge -> render -> compress -> bytes.

All of it runs in a thread beside the event loop, one scrape at a time. Scrapes that wait for the same read share it; a
read that has begun takes nobody else on, so that no answer is older than its question.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Protocol

from prometheus_client.metrics_core import Metric

from exporter.exposition.compression import Compressor
from exporter.exposition.negotiation import Encoding, Escaping, Format, Offer
from exporter.exposition.text import OPENMETRICS_END, Renderer, Snapshot, take_metrics
from exporter.multiproc.families import add_labels
from exporter.threads import DaemonThread


class Engine(Protocol):
    """Where the worker's metrics come from."""

    @property
    def snapshot(self) -> Snapshot:
        """What there was at the last update."""

    @property
    def read_seconds(self) -> float:
        """What reading took, of the last update."""

    def update(self) -> None:
        """Read and merge the files as they are now."""


class _Batch:
    """Scrapes that wait for the same read."""

    def __init__(self) -> None:
        self.offers: set[Offer] = set()
        self.bodies: asyncio.Future[Mapping[Offer, bytes]] = asyncio.get_running_loop().create_future()


class Scraper:
    """Answers scrapes with the worker's metrics and the exporter's own."""

    def __init__(
        self,
        engine: Engine,
        own_metrics: Callable[[], Iterable[Metric]],
        own_labels: Collection[tuple[str, str]],
        on_update: Callable[[], None],
        own_names: Collection[str] = (),
    ) -> None:
        """Serve the engine's metrics, then `own_metrics` with `own_labels`; call `on_update` after an update.

        `own_names` are all names that `own_metrics` may use.
        """
        self.durations: dict[str, float] = {}
        """Seconds that the last scrape took, by phase."""
        self.last_scrape: float | None = None
        """When it was, in Unix seconds."""
        self.busy_since: float | None = None
        """When the read under way began, in seconds of the monotonic clock; None while there is none."""
        self._engine = engine
        self._own_metrics = own_metrics
        self._label = partial(add_labels, added=own_labels)
        self._own_names = own_names
        self._on_update = on_update
        self._renderers: dict[tuple[Escaping, bool], Renderer] = {}
        self._compressors: defaultdict[tuple[Format, Escaping], Compressor] = defaultdict(Compressor)
        self._thread = DaemonThread()  # always the same: each thread has memory of its own
        self._waiting: _Batch | None = None
        self._task: asyncio.Task[None] | None = None

    async def scrape(self, offer: Offer, timeout: float) -> bytes:  # noqa: ARG002, ASYNC109 - the caller cancels at its end
        """Return a body in the offer's format and encoding, of a read that starts after this call."""
        batch = self._join()
        batch.offers.add(offer)
        return (await asyncio.shield(batch.bodies))[offer]

    def refresh(self) -> None:
        """See to it that the files are read soon, whether or not somebody scrapes."""
        self._join()

    def close(self) -> None:
        """End without waiting for a read that hangs."""
        if self._task is not None:
            self._task.cancel()

    def _join(self) -> _Batch:
        """Return the batch of the next read, which is under way as soon as the last one has ended."""
        if self._waiting is None:
            self._waiting = _Batch()
        batch = self._waiting
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._serve())
        return batch

    async def _serve(self) -> None:
        """Perform scrapes in threads, one after the other, as long as somebody waits."""
        while self._waiting is not None:
            batch, self._waiting = self._waiting, None  # closed: nobody joins a read that has begun
            self.busy_since = time.monotonic()
            try:
                batch.bodies.set_result(await self._thread.run(partial(self.bodies, batch.offers)))
            except Exception as error:  # noqa: BLE001 - whatever it is, it is for those who wait
                batch.bodies.set_exception(error)
                batch.bodies.exception()  # nobody may be waiting any more, and that is no fault
            finally:
                self.busy_since = None

    def bodies(self, offers: Iterable[Offer]) -> dict[Offer, bytes]:
        """Perform one scrape for all `offers`, or only read where there is none; blocks."""
        start = time.perf_counter()
        self._engine.update()
        self._on_update()
        spent = {
            "read": self._engine.read_seconds,
            "merge": time.perf_counter() - start - self._engine.read_seconds,
        }
        spent["render"] = spent["compress"] = 0.0
        bodies = {}
        for offer in offers:
            start = time.perf_counter()
            worker, own = self._render(offer)
            rendered = time.perf_counter()
            bodies[offer] = self._encode(worker, own, offer)
            spent["render"] += rendered - start
            spent["compress"] += time.perf_counter() - rendered
        if bodies:
            self.durations = spent
            self.last_scrape = time.time()
        return bodies

    def _render(self, offer: Offer) -> tuple[Sequence[bytes], bytes]:
        """Return the worker's part of a body in chunks, the same object as last time where equal, and the rest."""
        openmetrics = offer.format is Format.OPENMETRICS_1_0_0
        key = offer.escaping, openmetrics
        if key not in self._renderers:
            self._renderers[key] = Renderer(offer.escaping, openmetrics=openmetrics, taken=self._own_names)
        worker = self._renderers[key].render(self._engine.snapshot)
        own = take_metrics(self._own_metrics(), self._label)
        rest = b"".join(Renderer(offer.escaping, openmetrics=openmetrics).render(own))
        return worker, rest + OPENMETRICS_END if openmetrics else rest

    def _encode(self, worker: Sequence[bytes], rest: bytes, offer: Offer) -> bytes:
        if offer.encoding is Encoding.IDENTITY:
            return b"".join([*worker, rest])
        return self._compressors[offer.format, offer.escaping].gzip(worker, rest)
