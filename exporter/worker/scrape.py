"""One scrape: all workers read what changed -> their snapshots -> combine -> render -> compress -> bytes.

Each worker reads in a thread of its own; one that is late or fails is left out of the answer, and delays no other. One
answer at a time is made, beside the event loop. Scrapes that wait for the next answer share it; reads that have begun
take no more scrapes, so that no answer holds values older than its request.
"""

import asyncio
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Protocol, TypeAlias

from exporter.exposition.combine import Combiner
from exporter.exposition.compression import Encoder
from exporter.exposition.negotiation import Escaping, Representation
from exporter.exposition.text import Renderer, ending
from exporter.model import Format, Snapshot
from exporter.service.coalescing import Coalescer
from exporter.threads import DaemonThread, outcome_of, settle
from exporter.worker.reads import Then

LATE, FAILED = REASONS = ("late", "failed")
"""Why a part is left out of an answer."""

_SLOW = 1.0
"""Seconds after which a running read is no longer waited for, as long as others can be served."""

_MOST_OUTPUTS = 3
"""Formats and escaping schemes whose texts are kept: each takes some MiB, and any client may ask for any."""

Bodies: TypeAlias = Mapping[Representation, bytes]


class Asked(Protocol):
    """Something that is read at each scrape."""

    @property
    def snapshot(self) -> Snapshot:
        """All families and values at the last read."""

    @property
    def seconds(self) -> Mapping[str, float]:
        """Seconds that the last read took, by phase: read, merge."""

    @property
    def busy_since(self) -> float | None:
        """When the running read began, in seconds of the monotonic clock; None if none is running."""

    def ask(self, then: Then) -> None:
        """Have a read begin after this call, and call `then` with its error or None, from any thread but the loop's."""

    def withdraw(self, then: Then) -> None:
        """Do not call `then`, unless its read has begun."""

    def leave_out(self, reason: str) -> None:
        """Note an answer without this part; the reason is one of `REASONS`."""


class Part(Asked, Protocol):
    """A part of the answer: a worker."""

    def read(self) -> None:
        """Read now, in this thread; ScrapeError if that fails."""

    def delay(self) -> str:
        """Return why reads are slow now, such as an unfinished first read; an empty text if nothing is unusual."""


class Guest(Asked, Protocol):
    """What is served beside the parts, but never instead of them: another exposition."""

    def add_to(self, others: Snapshot, snapshot: Snapshot) -> Snapshot:
        """Return `others`, and what of this guest's `snapshot` can be served beside them."""


class _Batch:
    """Scrapes that wait for the same answer, and what it has so far."""

    def __init__(self) -> None:
        self.representations: set[Representation] = set()
        self.waiters: list[asyncio.Future[Bodies]] = []
        self.deadline = math.inf
        """When to answer without the parts that are not there, in seconds of the loop's clock."""
        self.parts: Sequence[Part] = ()
        """The parts that were asked."""
        self.guests: Sequence[Guest] = ()
        """The guests that were asked."""
        self.thens: dict[Asked, Then] = {}
        self.snapshots: dict[Asked, Snapshot] = {}
        self.errors: dict[Asked, BaseException] = {}
        self._lock = threading.Lock()
        self._closed = False

    @property
    def asked(self) -> Sequence[Asked]:
        """The parts and guests that were asked."""
        return [*self.parts, *self.guests] if self.guests else self.parts

    def take(self, part: Asked, error: BaseException | None) -> bool:
        """Take the result of a part's read; return whether it was the last one that was waited for."""
        with self._lock:
            if self._closed:
                return False
            if error:
                self.errors[part] = error
            else:
                self.snapshots[part] = part.snapshot
            return len(self.snapshots) + len(self.errors) == len(self.asked) and self._close()

    @property
    def missing(self) -> list[Asked]:
        """Those whose read has not ended."""
        return [part for part in self.asked if part not in self.snapshots and part not in self.errors]

    def close(self) -> bool:
        """Take no more results; return whether any could be taken until now."""
        with self._lock:
            return self._close()

    def _close(self) -> bool:
        was_open, self._closed = not self._closed, True
        return was_open


class _Output:
    """Renderers and encoder for one format and escaping scheme; each keeps its last output for reuse."""

    def __init__(self, format_: Format, escaping: Escaping, own_names: Collection[str]) -> None:
        self.workers = Renderer(format_, escaping, own_names)
        self.own = Renderer(format_, escaping)
        self.encoder = Encoder()


class Scraper:
    """Answers scrapes with the metrics of all parts, and the exporter's own."""

    def __init__(
        self,
        parts: Callable[[], Sequence[Part]],
        own_metrics: Callable[[], Snapshot],
        observe: Callable[[Mapping[str, float]], None],
        own_names: Collection[str] = (),
        *,
        after: Callable[[], None] = lambda: None,
        guests: Sequence[Guest] = (),
        thread: DaemonThread | None = None,
    ) -> None:
        """Serve the parts that `parts` returns at each scrape, in their order, with `guests`, then `own_metrics`.

        `observe` gets the seconds that a scrape took, by phase. `own_names` are all names that `own_metrics` may use.
        `after` is called in the event loop after each answer.
        `thread` is where answers are made, by default one of its own.
        """
        self.durations: dict[str, float] = {}
        """Seconds that the last scrape took, by phase; those of the workers' reads added up."""
        self.last_scrape: float | None = None
        """When the last scrape ended, in Unix seconds."""
        self._parts = parts
        self._guests = guests
        self._own_metrics = own_metrics
        self._own_names = own_names
        self._observe = observe
        self._after = after
        self._combiner = Combiner()
        self._outputs: OrderedDict[tuple[Format, Escaping], _Output] = OrderedDict()
        self._thread = thread or DaemonThread()
        self._batches = Coalescer(_Batch, self._begin)
        self._running: _Batch | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def conflicts(self) -> int:
        """Number of families that the last answer lacks, as an earlier part has their name for another type."""
        return self._combiner.left_out

    async def scrape(self, wanted: Representation, timeout: float) -> bytes:  # noqa: ASYNC109 - the caller cancels at the timeout
        """Return the body in the representation `wanted`, from reads that start after this call.

        One of several parts that is not read in time is left out; TimeoutError if that is so for all.
        """
        loop = asyncio.get_running_loop()
        bodies: asyncio.Future[Bodies] = loop.create_future()
        batch = self._batches.join()
        batch.representations.add(wanted)
        batch.waiters.append(bodies)
        if (
            len(self._parts()) + len(self._guests) > 1
        ):  # where others can be served without one that is late, it takes time to do so
            batch.deadline = min(batch.deadline, loop.time() + 0.9 * timeout)
            self._answer_by(batch.deadline)
        return (await bodies)[wanted]

    def delay(self) -> str:
        """Return why reads are slow now, such as an unfinished first read; an empty text if nothing is unusual."""
        return next(filter(None, (part.delay() for part in self._parts())), "")

    def bodies(self, representations: Iterable[Representation]) -> Bodies:
        """Read all parts in this thread, and return a body for each of `representations`. Blocks."""
        batch = _Batch()
        batch.representations.update(representations)
        batch.parts = self._parts()
        for part in batch.parts:
            _, error = outcome_of(part.read)
            batch.take(part, error)
        return self._answer(batch)

    # --- From a batch's begin to its end ---

    def _begin(self, batch: _Batch) -> None:
        """Ask all parts to read; one that has been reading for long is left out at once, unless all have."""
        parts, now = self._parts(), time.monotonic()

        def is_ready(part: Asked) -> bool:
            return part.busy_since is None or now - part.busy_since <= _SLOW

        batch.parts = [*filter(is_ready, parts)] or parts
        batch.guests = [*filter(is_ready, self._guests)]
        for part in {*parts, *self._guests}.difference(batch.asked):
            part.leave_out(LATE)
        self._running = batch
        if not parts:
            self._close(batch)
            return
        self._answer_by(batch.deadline)
        loop = asyncio.get_running_loop()
        batch.thens = {part: partial(self._take, loop, batch, part) for part in batch.asked}
        for part, then in batch.thens.items():
            part.ask(then)

    def _answer_by(self, deadline: float) -> None:
        """Have the running batch be answered by then: scrapes wait for it that may be in more of a hurry."""
        if self._running and deadline < (self._timer.when() if self._timer else math.inf):
            if self._timer:
                self._timer.cancel()
            self._timer = asyncio.get_running_loop().call_at(deadline, self._close, self._running)

    def _take(
        self, loop: asyncio.AbstractEventLoop, batch: _Batch, part: Asked, error: BaseException | None
    ) -> None:
        """Take the result of a part's read, in that part's thread. A lone part's answer is made right there."""
        if not batch.take(part, error):
            return
        with suppress(RuntimeError):  # the loop is closed
            if len(batch.asked) == 1:
                bodies, failure = outcome_of(partial(self._answer, batch))
                loop.call_soon_threadsafe(self._finish, batch, bodies, failure)
            else:
                loop.call_soon_threadsafe(self._make, batch)

    def _close(self, batch: _Batch) -> None:
        """Have the answer made of what has been read, without waiting for more."""
        if batch.close():
            for part in batch.missing:
                part.withdraw(batch.thens[part])
                if len(batch.asked) > 1:
                    part.leave_out(LATE)
            self._make(batch)

    def _make(self, batch: _Batch) -> None:
        self._thread.submit(partial(self._answer, batch), partial(self._finish, batch))

    def _answer(self, batch: _Batch) -> Bodies:
        """Return the bodies that a closed batch asks for; raise an error if it has no part to serve."""
        snapshots = [batch.snapshots[part] for part in batch.parts if part in batch.snapshots]
        if batch.parts and not snapshots:
            raise next(filter(None, map(batch.errors.get, batch.parts)), TimeoutError())
        for part in batch.errors:
            part.leave_out(FAILED)
        spent = {
            phase: sum(part.seconds.get(phase, 0.0) for part in batch.snapshots)
            for phase in ("read", "merge")
        }
        start = time.perf_counter()
        snapshot = self._combiner.combine(snapshots)
        for guest in batch.guests:
            if guest in batch.snapshots:
                snapshot = guest.add_to(snapshot, batch.snapshots[guest])
        spent["merge"] += time.perf_counter() - start
        spent["render"] = spent["compress"] = 0.0
        bodies = {}
        for wanted in batch.representations:
            start = time.perf_counter()
            output = self._output(wanted)
            own = b"".join([*output.own.render(self._own_metrics()), ending(wanted.format)])
            workers = output.workers.render(snapshot)
            rendered = time.perf_counter()
            bodies[wanted] = b"".join(output.encoder.encode(wanted.encoding, workers, own))
            spent["render"] += rendered - start
            spent["compress"] += time.perf_counter() - rendered
        if bodies:
            self.durations = spent
            self._observe(spent)
            self.last_scrape = time.time()
        return bodies

    def _finish(self, batch: _Batch, bodies: Bodies | None, error: BaseException | None) -> None:
        """Hand the answer to all scrapes that wait for it, and begin the next."""
        self._running = None
        if self._timer:
            self._timer.cancel()
            self._timer = None
        for waiter in batch.waiters:
            settle(waiter, bodies, error)
        self._after()
        batch.thens.clear()  # they hold the batch: without a cycle, the bodies' memory is free at once
        self._batches.done()

    def _output(self, wanted: Representation) -> _Output:
        key = wanted.format, wanted.escaping
        if key not in self._outputs:
            self._outputs[key] = _Output(*key, self._own_names)
        self._outputs.move_to_end(key)
        if len(self._outputs) > _MOST_OUTPUTS:
            self._outputs.popitem(last=False)
        return self._outputs[key]
