"""The engine views of a daemon's workers, fed by reads that come anyway, and by reads of our own while somebody looks.

A read that comes anyway costs its scrape next to nothing: it is worked up later, in a thread, and one that comes soon
after another is passed over. Nobody looks: there are no reads of our own, and more are passed over.
"""

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any, NamedTuple, TypeVar

from exporter.engine.tracker import BUDGET, WINDOW, Tracker
from exporter.logs import fields
from exporter.model import Snapshot
from exporter.threads import DaemonThread

T = TypeVar("T")

_logger = logging.getLogger(__name__)

PERIOD = 2.0
"""Least seconds between two reads that are worked up, of those that come anyway."""
_REST_PERIOD, _REST_AFTER = 30.0, 600.0
"""The same while nobody looks: once nobody has for so many seconds. Nobody needs finer figures of the past later on."""
TOTAL_BUDGET = 64 << 20
"""Bytes that all workers together may take."""

_DELAY = 0.1
"""Seconds until a read is worked up: the answer to its scrape is sent by then."""
_FRESH = 1.0
"""Seconds for which a read is fresh enough for who looks."""
_SHARE, _STALE = 0.1, 10.0
"""Part of the time that reads of our own may take; but one that takes long is fresh for so many seconds at most."""
_PATIENCE = 2.5
"""Seconds that who looks waits for a read of our own; then they see what is known."""


class Read(NamedTuple):
    """What the last read of a worker gave."""

    labels: Mapping[str, str]
    """What tells the worker apart: `worker_addr`, else `directory`."""
    snapshot: Callable[[], Snapshot] | None
    """Returns its families (slow: call it in a thread); None if the worker could not be read."""
    up: bool | None
    """Whether the worker is up; None if that is unknown."""

    def with_more(self, more: Sequence[Snapshot]) -> "Read":
        """Return this read together with what other expositions say of the worker."""
        own = self.snapshot
        return self._replace(snapshot=lambda: [*(own() if own else ()), *chain.from_iterable(more)])

    @property
    def name(self) -> str:
        """What the worker is called, as long as no other has the same labels."""
        return self.labels.get("worker_addr") or ", ".join(self.labels.values())


Reads = Mapping[str, Read]
"""The last reads of all workers, by a key of each."""


class EngineViews:
    """Knows the engine view of each worker."""

    def __init__(self, read: Callable[[], Awaitable[object]], reads: Callable[[], Reads]) -> None:
        """`read` reads all workers, and raises nothing; `reads` returns, cheaply, the last reads of all of them."""
        self._read = read
        self._reads = reads
        self._trackers: dict[str, tuple[Tracker, Mapping[str, str]]] = {}
        self._budget = BUDGET
        self._thread = DaemonThread()  # the only one that uses the trackers
        self._looked = -math.inf
        """When somebody looked last, in seconds of the loop's clock."""
        self._due = 0.0
        """When a read that comes anyway is to be worked up again, in seconds of the loop's clock."""
        self._pending: tuple[float, Reads] | None = None
        """A read that is to be worked up, and its time."""
        self._fresh_until = 0.0
        self._reading: asyncio.Task[None] | None = None

    def offer(self) -> None:
        """Note that workers have just been read, for another purpose. For the event loop."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._due:
            return
        if self._pending is None:
            loop.call_later(_DELAY, self._work_up)
        self._note(loop.time())

    async def look(
        self,
        make: Callable[[dict[str, Any]], T],
        worker: str = "",
        since: float = 0.0,
        *,
        brief: bool = False,
    ) -> T | None:
        """Return what `make` makes of the views as JSON values, of all workers or of one; None if there is none such.

        The history is that after `since`. `brief`: without ranks, and with the history of a few figures only.
        """
        self._looked = asyncio.get_running_loop().time()
        if self._looked >= self._fresh_until:
            if self._reading is None:
                self._reading = asyncio.create_task(self._refresh())
            await asyncio.wait([self._reading], timeout=_PATIENCE)
        self._work_up()
        return await self._thread.run(lambda: self._make(make, worker, since, brief=brief))

    def _note(self, begin: float) -> None:
        """Take the present reads as pending; `begin` is when they began."""
        now = asyncio.get_running_loop().time()
        self._pending = time.time(), self._reads()
        self._due = now + (PERIOD if now - self._looked < _REST_AFTER else _REST_PERIOD)
        self._fresh_until = now + min(max(_FRESH, (now - begin) / _SHARE), _STALE)

    async def _refresh(self) -> None:
        """Read all workers."""
        try:
            begin = asyncio.get_running_loop().time()
            await self._read()
            self._note(begin)
        finally:
            self._reading = None

    def _work_up(self) -> None:
        """Have the pending reads worked up, if there are any."""
        if self._pending:
            self._thread.put(partial(self._take, *self._pending))
            self._pending = None

    # --- In the thread ---

    def _take(self, moment: float, reads: Reads) -> None:
        self._fit(len(reads))
        known, self._trackers = self._trackers, {}
        for name, read in _named(reads).items():
            tracker = known[name][0] if name in known else Tracker(self._budget)
            self._trackers[name] = tracker, read.labels
            try:
                if read.snapshot is None:
                    tracker.fail(moment, up=read.up)
                else:
                    tracker.take(moment, read.snapshot(), up=read.up)
            except Exception:  # one worker's odd metrics must not cost the views of the others
                _logger.exception("unexpected error in the engine view", extra=fields(**read.labels))
                self._trackers[name] = Tracker(self._budget), read.labels

    def _fit(self, workers: int) -> None:
        """Begin anew where there are more workers than memory was shared out for: as many, or up to twice as many."""
        budget = min(BUDGET, TOTAL_BUDGET >> max(0, workers - 1).bit_length())
        if budget != self._budget:
            self._trackers = {}
        self._budget = budget

    def _make(
        self, make: Callable[[dict[str, Any]], T], worker: str, since: float, *, brief: bool
    ) -> T | None:
        chosen = [
            {"name": name, **labels, **tracker.view(since, brief=brief)}
            for name, (tracker, labels) in self._trackers.items()
            if not worker or worker in {name, *labels.values()}
        ]
        if worker and not chosen:
            return None
        return make({"time": time.time(), "window_seconds": WINDOW, "workers": chosen})


def _named(reads: Reads) -> Mapping[str, Read]:
    """Return the reads by a name of each worker: its address, with the key of the read where several have that."""
    counts = Counter(read.name for read in reads.values())
    return {
        read.name if counts[read.name] == 1 else f"{read.name} {key}": read for key, read in reads.items()
    }
