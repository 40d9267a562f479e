"""One scrape of the whole fleet: ask every target -> read what they answer -> merge -> compress -> bytes.

Requests that wait for the same fan-out share it; one that has begun takes nobody else on, so that no answer is older
than its question. A request whose time is up before every target has answered gets what there is by then.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from exporter.errors import ScrapeError
from exporter.exposition.compression import Encoder
from exporter.exposition.negotiation import Representation
from exporter.exposition.text import escape
from exporter.fleet.client import TIMEOUT, Answer, TargetFailure
from exporter.fleet.merge import merge
from exporter.fleet.reading import BadExpositionError, BodyReader, Reading
from exporter.fleet.targets import Target
from exporter.logs import fields
from exporter.model import Snapshot
from exporter.service.coalescing import Coalescer
from exporter.threads import DaemonThread

_logger = logging.getLogger(__name__)

CONCURRENCY = 32
"""Targets that are scraped at a time."""

_PATIENCE = 0.2
"""Seconds after which a target that has not begun to answer no longer counts among those: others get their turn."""

_MERGE_SHARE = 0.2
"""What part of a request's time is kept for the merge, up to `_MERGE_RESERVE` seconds."""
_MERGE_RESERVE = 0.5

Ask = Callable[[str, Callable[[], Awaitable[None]]], Awaitable[Answer]]
"""Scrapes a metrics URL, and between the answer's head and its body awaits the second; may raise TargetFailure."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one target's scrape."""

    seconds: float
    reading: Reading | None
    reason: str = ""
    """A word for why there is no reading."""
    problem: str = ""
    """The same as a line."""

    @property
    def samples(self) -> int:
        """The number of its samples."""
        return self.reading.layout.samples if self.reading else 0


Outcomes = Mapping[str, Outcome]
"""By metrics URL."""


class _Round:
    """One fan-out, and the requests that wait for it."""

    def __init__(self) -> None:
        self.deadline = 0.0
        """When the last of the requests gives up, on the loop's clock."""
        self.begun = False
        self.targets: tuple[Target, ...] = ()
        self.outcomes: dict[str, Outcome] = {}
        self.done = asyncio.Event()
        self.bodies: dict[Representation, asyncio.Future[list[bytes]]] = {}


class _Turn:
    """A place among the targets that are scraped at a time. One that is silent gives it up until it answers."""

    def __init__(self, places: asyncio.Semaphore) -> None:
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._places = places
        self._taken = False

    async def take(self) -> None:
        """Wait for a place."""
        await self._places.acquire()
        self._taken = True

    def give_up(self) -> None:
        """Let others have it."""
        if self._taken:
            self._places.release()
            self._taken = False

    async def on_head(self) -> None:
        """Go on with the body when there is a place."""
        self.answered.set_result(None)
        if not self._taken:
            await self.take()


class Fanout:
    """Answers scrapes with the metrics of all targets."""

    def __init__(
        self,
        targets: Callable[[], Sequence[Target]],
        ask: Ask,
        own_metrics: Callable[[Sequence[Target], Outcomes], Snapshot],
        *,
        labels: Mapping[str, str],
        target_timeout: float,
        max_target_bytes: int,
        no_target: Callable[[], str],
        concurrency: int = CONCURRENCY,
    ) -> None:
        """Scrape `targets` by `ask`, and add `own_metrics`: what is to be told of the targets.

        `labels` are put on every series of the workers. `no_target` says why there is none.
        """
        self.outcomes: Outcomes = {}
        """What came of the targets, in the last fan-out that ended."""
        self.failures: Counter[str] = Counter()
        """Failed scrapes of targets since start, by reason."""
        self.left_out: Counter[str] = Counter()
        """What was left out of answers since start, by reason."""
        self.durations: dict[str, float] = {}
        """Seconds that the last answer took, by phase. Replaced, not changed: other threads look at it."""
        self.last_scrape: float | None = None
        """When it was, in Unix seconds."""
        self._targets = targets
        self._ask = ask
        self._own_metrics = own_metrics
        self._target_timeout = target_timeout
        self._max_target_bytes = max_target_bytes
        self._places = asyncio.Semaphore(concurrency)
        self._no_target = no_target
        self._reader = BodyReader(tuple((name, escape(value)) for name, value in labels.items()))
        self._readings: dict[str, Reading] = {}
        """The last reading of each target, by its URL."""
        self._thread = DaemonThread()
        self._rounds = Coalescer(_Round, self._begin)
        self._task: asyncio.Task[None] | None = None

    async def scrape(self, wanted: Representation, timeout: float) -> list[bytes]:  # noqa: ASYNC109 - the caller cancels at its end
        """Return the chunks of a body in the representation `wanted`, of a fan-out that starts after this call."""
        deadline = asyncio.get_running_loop().time() + timeout - min(_MERGE_RESERVE, _MERGE_SHARE * timeout)
        fan_out = self._rounds.join()
        fan_out.deadline = max(fan_out.deadline, deadline)
        try:
            async with asyncio.timeout_at(deadline):
                await fan_out.done.wait()
        except TimeoutError:
            if not fan_out.begun:
                raise ScrapeError("the scrape before this one still waits for its targets") from None
            return await self._body(fan_out, wanted)
        if wanted not in fan_out.bodies:
            body = fan_out.bodies[wanted] = asyncio.ensure_future(self._body(fan_out, wanted))
            body.add_done_callback(_look_at)  # nobody may be waiting any more, and that is no fault
        return await asyncio.shield(fan_out.bodies[wanted])

    def delay(self) -> str:
        """Say what a scrape may have to wait for: nothing out of the ordinary."""
        return ""

    def close(self) -> None:
        """End without waiting for targets."""
        if self._task is not None:
            self._task.cancel()

    def _begin(self, fan_out: _Round) -> None:
        self._task = asyncio.create_task(self._perform(fan_out))
        self._task.add_done_callback(lambda _: self._rounds.done())

    async def _perform(self, fan_out: _Round) -> None:
        start = time.perf_counter()
        fan_out.begun = True
        fan_out.targets = tuple(self._targets())
        async with asyncio.TaskGroup() as group:
            for target in fan_out.targets:
                group.create_task(self._scrape(fan_out, target))
        urls = {target.metrics_url for target in fan_out.targets}
        self._readings = {url: reading for url, reading in self._readings.items() if url in urls}
        self.outcomes = fan_out.outcomes
        for outcome in fan_out.outcomes.values():
            self._count(outcome)
        self.durations = {"fetch": time.perf_counter() - start, "merge": 0.0, "compress": 0.0}
        self.last_scrape = time.time()
        fan_out.done.set()

    def _count(self, outcome: Outcome) -> None:
        if outcome.reading is None:
            self.failures[outcome.reason] += 1
        else:
            self.left_out.update(outcome.reading.layout.faults)

    async def _scrape(self, fan_out: _Round, target: Target) -> None:
        """Scrape one target, and put down what came of it."""
        start = time.perf_counter()
        reading = None
        reason = problem = ""
        turn = _Turn(self._places)
        try:
            async with asyncio.timeout_at(fan_out.deadline):
                if not self._was_silent(target):
                    await turn.take()
                answer = await self._answer(target, turn)
                reading = await self._thread.run(partial(self._read, target, answer))
        except TargetFailure as failure:
            reason, problem = failure.reason, str(failure)
        except BadExpositionError as error:
            reason, problem = "exposition", str(error)
        except TimeoutError:
            reason, problem = TIMEOUT, f"no whole answer within {time.perf_counter() - start:.1f} s"
        except Exception as error:  # the others' answers must not depend on it
            _logger.exception(
                "unexpected error while scraping a target", extra=fields(url=target.metrics_url)
            )
            reason, problem = "internal", f"internal error: {type(error).__name__}"
        finally:
            turn.give_up()  # not before its body is read: no more bodies than places are in memory
        if reading is not None:
            self._readings[target.metrics_url] = reading
        fan_out.outcomes[target.metrics_url] = Outcome(time.perf_counter() - start, reading, reason, problem)

    def _was_silent(self, target: Target) -> bool:
        """Whether a target need not be given a place before it answers, since last time it did not."""
        outcome = self.outcomes.get(target.metrics_url)
        return outcome is not None and outcome.reason == TIMEOUT

    async def _answer(self, target: Target, turn: _Turn) -> Answer:
        """Return what a target answers; may raise TargetFailure, TimeoutError."""
        asking = asyncio.ensure_future(self._ask(target.metrics_url, turn.on_head))
        either: set[asyncio.Future[Any]] = {asking, turn.answered}
        try:
            async with asyncio.timeout(self._target_timeout):
                await asyncio.wait(either, timeout=_PATIENCE, return_when=asyncio.FIRST_COMPLETED)
                if not (asking.done() or turn.answered.done()):
                    turn.give_up()
                return await asking
        finally:
            asking.cancel()

    def _read(self, target: Target, answer: Answer) -> Reading:
        body = answer.body(self._max_target_bytes)
        address = target.worker_addr.encode()  # of characters that need no escape
        return self._reader.read(body, address, self._readings.get(target.metrics_url))

    async def _body(self, fan_out: _Round, wanted: Representation) -> list[bytes]:
        """Return an answer made of what there is."""
        if not fan_out.targets:
            raise ScrapeError(self._no_target() or "no target")
        outcomes = dict(fan_out.outcomes)
        chunks, faults = await self._thread.run(lambda: self._merge(fan_out.targets, outcomes, wanted))
        self.left_out.update(faults)
        return chunks

    def _merge(
        self, targets: Sequence[Target], outcomes: Outcomes, wanted: Representation
    ) -> tuple[list[bytes], Counter[str]]:
        """Return an answer, and what was left out of it: how often, by reason."""
        start = time.perf_counter()
        readings = [
            outcome.reading
            for target in targets
            if (outcome := outcomes.get(target.metrics_url)) and outcome.reading is not None
        ]
        chunks, faults = merge(readings, wanted.format, self._own_metrics(targets, outcomes))
        merged = time.perf_counter()
        chunks = Encoder().encode(wanted.encoding, chunks)
        compressed = time.perf_counter()
        self.durations = {**self.durations, "merge": merged - start, "compress": compressed - merged}
        return chunks, faults


def _look_at(done: "asyncio.Future[Any]") -> None:
    if not done.cancelled():
        done.exception()
