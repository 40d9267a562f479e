"""Reads expositions again and again, and keeps the engine view of every worker in them."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import urljoin

from exporter.engine.tracker import BUDGET, Tracker
from exporter.paths import FLEET_METRICS
from exporter.scraping.client import Answer, TargetFailure
from exporter.scraping.reading import BadExpositionError, BodyReader, Reading
from exporter.scraping.snapshots import Snapshots
from exporter.threads import DaemonThread
from exporter.top.workers import Workers, is_up

MAX_BYTES = 64 << 20
"""Size beyond which an exposition is refused."""
PATIENCE = 5.0
"""Seconds that an exposition may take."""

INTERVAL = 1.0
"""Seconds between two reads."""

_BUDGET = 64 << 20
"""Bytes for the workers of one exposition."""
_OF_FLEET = "smg_exporter_targets"
"""A metric that a fleet has among its own, and not among those of its workers."""
_NO_ENGINE = "none of its metrics are of an engine that is known here"
_FORGET = 60.0
"""Seconds after which a worker is forgotten that is no longer in the exposition."""

View: TypeAlias = Mapping[str, Any]
"""A worker in `/engine.json`, and its `url` and `problem`: why nothing is known of it, or an empty text."""
Key: TypeAlias = tuple[str, str]
"""A worker's name and the URL it was read from: several expositions may tell of one worker."""
Get = Callable[[str], Awaitable[Answer]]
"""Fetches a URL; may raise TargetFailure."""


class Source:
    """One exposition, and the workers in it."""

    def __init__(self, url: str, name: str, get: Get, *, window: float, patience: float = PATIENCE) -> None:
        """Read `url` by `get`; a worker is called `name` if nothing in the exposition tells its name.

        Rates and percentiles are those of the last `window` seconds. A read may take `patience` seconds.
        """
        self.views: Sequence[View] = ()
        """The views of all workers as of the last read; replaced, never changed."""
        self._url = url
        self._name = name
        self._get = get
        self._window = window
        self._patience = patience
        self._reader = BodyReader(keeps_addresses=True)
        self._reading: Reading | None = None
        self._snapshots = Snapshots()
        self._split = Workers()
        self._workers: dict[str, _Worker] = {}
        self._thread = DaemonThread()

    async def read(self) -> None:
        """Read the exposition once."""
        now = time.time()
        try:
            async with asyncio.timeout(self._patience):
                if not await self._take(now, await self._get(self._url)):
                    self._url = urljoin(self._url, FLEET_METRICS)
                    await self._take(now, await self._get(self._url))
        except TimeoutError:
            await self._fail(now, f"no whole answer within {self._patience:g} s")
        except (TargetFailure, BadExpositionError) as failure:
            await self._fail(now, str(failure))
        except Exception as error:  # noqa: BLE001 - it is shown, and the other sources go on
            await self._fail(now, f"internal error: {type(error).__name__}: {error}")

    async def keep_reading(self, interval: float) -> None:
        """Read every `interval` seconds, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + interval
            await self.read()
            await asyncio.sleep(due - loop.time())

    async def _take(self, now: float, answer: Answer) -> bool:
        """Take an answer; return False if it is of a fleet's own metrics, whose workers are elsewhere."""
        return await self._thread.run(lambda: self._take_in_thread(now, answer))

    def _take_in_thread(self, now: float, answer: Answer) -> bool:
        self._reading = self._reader.read(answer.body(MAX_BYTES), before=self._reading)
        snapshot = self._snapshots.take(self._reading)
        if any(one.family.name == _OF_FLEET for one in snapshot):
            return False
        found = self._split.take(snapshot)
        for name, families in found.items():
            worker = self._worker(name or self._name, len(found))
            worker.tracker.take(now, families, up=is_up(families))
            worker.seen, worker.problem = now, ""
        if not found:
            self._worker(self._name)
        for name, worker in list(self._workers.items()):
            if found and now - worker.seen > _FORGET:
                del self._workers[name]
            elif worker.seen < now:
                worker.fail(now, "no longer in the exposition" if found else _NO_ENGINE)
        self._note()
        return True

    async def _fail(self, now: float, problem: str) -> None:
        def note() -> None:
            if not self._workers:
                self._worker(self._name)
            for worker in self._workers.values():
                worker.fail(now, problem)
            self._note()

        await self._thread.run(note)  # an answer that came too late may still be taken there

    def _worker(self, name: str, count: int = 1) -> "_Worker":
        if name not in self._workers:
            self._workers[name] = _Worker(Tracker(min(BUDGET, _BUDGET // count), self._window))
        return self._workers[name]

    def _note(self) -> None:
        self.views = [
            {"worker_addr": name, "url": self._url, "problem": worker.problem, **worker.tracker.view()}
            for name, worker in self._workers.items()
        ]


def key(view: View) -> Key:
    """Return what tells a view from all others."""
    return view["worker_addr"], view["url"]


@dataclass
class _Worker:
    tracker: Tracker
    seen: float = 0.0
    """When it was last in the exposition."""
    problem: str = ""
    """Why nothing is known of it."""

    def fail(self, now: float, problem: str) -> None:
        self.tracker.fail(now, up=False)
        self.problem = problem
