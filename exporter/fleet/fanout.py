"""One scrape of the whole fleet, a fan-out: ask every target -> read the answers -> merge -> compress -> bytes.

Requests that come before a fan-out begins share it; later ones wait for the next, so that no answer is older than its
request. A request whose time is up before every target has answered gets an answer from the others.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from exporter.errors import ScrapeError
from exporter.exposition.compression import Encoder
from exporter.exposition.negotiation import Representation
from exporter.exposition.text import escape
from exporter.fleet.merge import merge
from exporter.fleet.readings import Readings
from exporter.fleet.targets import Target
from exporter.logs import fields
from exporter.model import Snapshot
from exporter.scraping.client import TIMEOUT, TOO_LARGE, Answer, TargetFailure
from exporter.scraping.reading import BadExpositionError, Reading
from exporter.service.coalescing import Coalescer

_logger = logging.getLogger(__name__)

CONCURRENCY = 32
"""Slots of each kind: most targets that are asked at the same time, and most whose bodies are received."""

PHASES = ("fetch", "merge", "compress")
"""What a scrape of the fleet consists of. Requests that share a fan-out share `fetch`."""

_PATIENCE = 0.2
"""Seconds without response headers after which a target frees its slot."""

_MERGE_SHARE = 0.2
"""Part of a request's timeout that is kept for the merge, but at most `_MERGE_RESERVE` seconds."""
_MERGE_RESERVE = 0.5

Ask = Callable[[str, Callable[[], Awaitable[None]]], Awaitable[Answer]]
"""Scrapes a metrics URL; awaits the second argument between response headers and body; may raise TargetFailure."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one target's scrape."""

    seconds: float
    reading: Reading | None
    reason: str = ""
    """Why there is no reading, in a word: one of the client's `REASONS`."""
    problem: str = ""
    """Why there is no reading, in a line."""
    began: float = 0.0
    """When the scrape began, in seconds of the monotonic clock."""

    @property
    def samples(self) -> int:
        """Number of samples in the reading."""
        return self.reading.layout.samples if self.reading else 0

    @property
    def state(self) -> str:
        """`up`; `dead`, if the target says that its worker's processes are all dead; `down`, if there is no reading."""
        if self.reading is None:
            return "down"
        alive = self.reading.values_of("smg_exporter_worker_up")
        return "dead" if alive and not any(alive) else "up"


Outcomes = Mapping[str, Outcome]
"""Outcomes by the target's metrics URL."""


class _Round:
    """One fan-out, and the requests that wait for it."""

    def __init__(self) -> None:
        self.deadline = 0.0
        """When the time of the last of the requests is up, by the loop's clock."""
        self.begun = False
        self.is_scrape = False
        """Whether any of the requests is a scrape: one that gets an answer, and is counted."""
        self.targets: tuple[Target, ...] = ()
        self.outcomes: dict[str, Outcome] = {}
        self.done = asyncio.Event()
        self.bodies: dict[Representation, asyncio.Future[list[bytes]]] = {}


class _Lane(NamedTuple):
    """Slots of some targets."""

    asked: asyncio.Semaphore
    """For targets that are asked, until they answer or turn out to be silent."""
    receiving: asyncio.Semaphore
    """For targets whose body is received and read: it bounds the memory that bodies take."""


class _Slot:
    """One target's slot in its lane: that of a target that is asked, then that of one whose body is received."""

    def __init__(self, lane: _Lane) -> None:
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done once the target has sent response headers."""
        self._lane = lane
        self._taken: asyncio.Semaphore | None = None

    async def ask(self) -> None:
        """Wait for a free slot to ask the target, and take it."""
        await self._take(self._lane.asked)

    async def receive(self) -> None:
        """Note that the target answers; wait for a free slot to receive its body, and take it."""
        self.answered.set_result(None)
        self.free()
        await self._take(self._lane.receiving)

    def free(self) -> None:
        """Free the slot, if one is taken."""
        if self._taken:
            self._taken.release()
            self._taken = None

    async def _take(self, slots: asyncio.Semaphore) -> None:
        await slots.acquire()
        self._taken = slots


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
        observe: Callable[[Mapping[str, float]], None],
        after: Callable[[], None] = lambda: None,
        concurrency: int = CONCURRENCY,
    ) -> None:
        """Scrape `targets` by `ask`, and add `own_metrics`: metrics about the targets and their outcomes.

        `labels` are put on every series of the workers. `no_target` returns why there is no target. `observe` gets the
        seconds that each of the `PHASES` took, when it has ended. `after` is called after each fan-out.
        """
        self.outcomes: Outcomes = {}
        """The outcome of the last scrape of each target that has ended, as part of a fan-out or of `ask`."""
        self.failures: Counter[str] = Counter()
        """Number of failed scrapes of targets since the start, by reason, whatever they were for."""
        self.left_out: Counter[str] = Counter()
        """How often something was left out of answers since the start, by reason."""
        self.durations: dict[str, float] = {}
        """Seconds that the last answer took, by phase. Replaced, never changed, since several threads use it."""
        self.last_scrape: float | None = None
        """When all targets of the last fan-out had answered or failed, in Unix seconds."""
        self._targets = targets
        self._ask = ask
        self._own_metrics = own_metrics
        self._target_timeout = target_timeout
        self._lane, self._lane_of_late = (
            _Lane(asyncio.Semaphore(concurrency), asyncio.Semaphore(concurrency)) for _ in range(2)
        )
        self._no_target = no_target
        self._observe = observe
        self._after = after
        self._readings = Readings(
            tuple((name, escape(value)) for name, value in labels.items()), max_target_bytes
        )
        self._rounds = Coalescer(_Round, self._begin)
        self._task: asyncio.Task[None] | None = None

    async def scrape(self, wanted: Representation, timeout: float) -> list[bytes]:  # noqa: ASYNC109 - the caller cancels at its end
        """Return the chunks of a body in the representation `wanted`, of a fan-out that starts after this call."""
        deadline = asyncio.get_running_loop().time() + timeout - min(_MERGE_RESERVE, _MERGE_SHARE * timeout)
        fan_out = self._rounds.join()
        fan_out.deadline = max(fan_out.deadline, deadline)
        fan_out.is_scrape = True
        try:
            async with asyncio.timeout_at(deadline):
                await fan_out.done.wait()
        except TimeoutError:
            if not fan_out.begun:
                raise ScrapeError("the scrape before this one still waits for its targets") from None
            return await self._body(fan_out, wanted)
        if wanted not in fan_out.bodies:
            body = fan_out.bodies[wanted] = asyncio.ensure_future(self._body(fan_out, wanted))
            body.add_done_callback(_retrieve_error)  # no request may be waiting for it any more
        return await asyncio.shield(fan_out.bodies[wanted])

    async def read(self) -> None:
        """Scrape all targets, for no answer; that does not count as a scrape of the fleet."""
        fan_out = self._rounds.join()
        fan_out.deadline = max(fan_out.deadline, asyncio.get_running_loop().time() + self._target_timeout)
        await fan_out.done.wait()

    async def ask(self, targets: Sequence[Target]) -> Collection[Target]:
        """Scrape some targets beside any fan-out, for no answer; return those that are up.

        Only the outcomes of the others are kept: readings of many targets would take much memory.
        """
        deadline = asyncio.get_running_loop().time() + self._target_timeout
        up = []
        outcomes = {}

        async def ask(target: Target) -> None:
            outcome = await self._scrape(deadline, target)
            if outcome.state == "up":
                up.append(target)
            else:
                outcomes[target.metrics_url] = outcome

        async with asyncio.TaskGroup() as group:
            for target in targets:
                group.create_task(ask(target))
        self._note(targets, outcomes)
        self._readings.forget([target.metrics_url for target in up])
        return up

    def was_up(self, target: Target, since: float) -> bool | None:
        """Return whether the last scrape of a target found a living worker; None if it began before `since`.

        `since` is in seconds of the monotonic clock.
        """
        outcome = self.outcomes.get(target.metrics_url)
        return None if outcome is None or outcome.began < since else outcome.state == "up"

    def delay(self) -> str:
        """Return why scrapes are delayed: an empty text, for a fleet knows no delay such as a long first read."""
        return ""

    def close(self) -> None:
        """Cancel the fan-out under way, if any."""
        if self._task is not None:
            self._task.cancel()

    def _begin(self, fan_out: _Round) -> None:
        self._task = asyncio.create_task(self._perform(fan_out))
        self._task.add_done_callback(lambda _: self._end(fan_out))

    def _end(self, fan_out: _Round) -> None:
        """Let nobody wait for a fan-out that has ended, though it failed by a fault of ours; begin the next."""
        fan_out.done.set()
        self._rounds.done()

    async def _perform(self, fan_out: _Round) -> None:
        start = time.perf_counter()
        fan_out.begun = True
        fan_out.targets = tuple(self._targets())
        async with asyncio.TaskGroup() as group:
            for target in fan_out.targets:
                group.create_task(self._scrape_for(fan_out, target))
        self._note(fan_out.targets, fan_out.outcomes)
        if fan_out.is_scrape:
            self._count(fan_out.outcomes, time.perf_counter() - start)
        self.last_scrape = time.time()
        fan_out.done.set()
        self._after()

    def _note(self, targets: Iterable[Target], outcomes: Outcomes) -> None:
        """Note outcomes of scrapes, but of each target the scrape that began last; forget targets that are gone."""
        known = dict(self.outcomes)
        for target in targets:
            url = target.metrics_url
            before, now = known.get(url), outcomes.get(url)
            if now and not (before and before.began > now.began):
                known[url] = now
                _log_change(target, before, now)
                if before and before.reading is None and now.reason not in {"", TIMEOUT}:
                    self._readings.forget(
                        [url]
                    )  # it failed twice, and not because its answer takes long to read
        present = {target.metrics_url for target in self._targets()}
        self.outcomes = {url: outcome for url, outcome in known.items() if url in present}
        self._readings.forget_others(present)
        self.failures.update(outcome.reason for outcome in outcomes.values() if outcome.reading is None)

    def _count(self, outcomes: Outcomes, seconds: float) -> None:
        """Count a fan-out for a scrape: what it leaves out, and how many seconds it took."""
        for outcome in outcomes.values():
            if outcome.reading is not None:
                self.left_out.update(outcome.reading.layout.faults)
        self.durations = {**dict.fromkeys(PHASES, 0.0), "fetch": seconds}
        self._observe({"fetch": seconds})

    async def _scrape_for(self, fan_out: _Round, target: Target) -> None:
        """Scrape one target, and put its outcome into the fan-out."""
        fan_out.outcomes[target.metrics_url] = await self._scrape(fan_out.deadline, target)

    async def _scrape(self, deadline: float, target: Target) -> Outcome:
        """Return the outcome of one target's scrape."""
        began, start = time.monotonic(), time.perf_counter()
        reading = None
        reason = problem = ""
        slot = _Slot(self._lane_of_late if self._was_late(target) else self._lane)
        try:
            async with asyncio.timeout_at(deadline):
                await slot.ask()
                answer = await self._answer(target, slot)
                reading = await self._readings.read(target, answer)
        except TargetFailure as failure:
            reason, problem = failure.reason, str(failure)
            if reason == TOO_LARGE:
                problem += "; --max-target-bytes sets the limit"
        except BadExpositionError as error:
            reason, problem = "exposition", str(error)
        except TimeoutError:
            reason, problem = TIMEOUT, f"no whole answer within {time.perf_counter() - start:.1f} s"
        except Exception as error:  # one target's error must not cost the answers of the others
            _logger.exception(
                "unexpected error while scraping a target", extra=fields(url=target.metrics_url)
            )
            reason, problem = "internal", f"internal error: {type(error).__name__}"
        finally:
            slot.free()  # not before the body is read, so that no more bodies than slots are in memory
        return Outcome(time.perf_counter() - start, reading, reason, problem, began)

    def _was_late(self, target: Target) -> bool:
        """Whether the last scrape of the target timed out: then the others do not wait for its slots."""
        outcome = self.outcomes.get(target.metrics_url)
        return outcome is not None and outcome.reason == TIMEOUT

    async def _answer(self, target: Target, slot: _Slot) -> Answer:
        """Return a target's answer; free its slot while it is silent. May raise TargetFailure, TimeoutError."""
        loop = asyncio.get_running_loop()

        async def on_head() -> None:
            left = (clock.when() or 0.0) - loop.time()
            if not clock.expired():
                clock.reschedule(None)  # that others' bodies are received first is not the target's fault
                await slot.receive()
                clock.reschedule(loop.time() + left)

        asking = asyncio.ensure_future(self._ask(target.metrics_url, on_head))
        either: set[asyncio.Future[Any]] = {asking, slot.answered}
        try:
            async with asyncio.timeout(self._target_timeout) as clock:
                await asyncio.wait(either, timeout=_PATIENCE, return_when=asyncio.FIRST_COMPLETED)
                if not (asking.done() or slot.answered.done()):
                    slot.free()
                return await asking
        finally:
            asking.cancel()

    async def _body(self, fan_out: _Round, wanted: Representation) -> list[bytes]:
        """Return an answer, in chunks, from the outcomes so far; raises ScrapeError if there is no target."""
        if not fan_out.targets:
            raise ScrapeError(self._no_target() or "no target")
        outcomes = dict(fan_out.outcomes)
        chunks, faults = await self._readings.thread.run(
            lambda: self._merge(fan_out.targets, outcomes, wanted)
        )
        self.left_out.update(faults)
        return chunks

    def _merge(
        self, targets: Sequence[Target], outcomes: Outcomes, wanted: Representation
    ) -> tuple[list[bytes], Counter[str]]:
        """Return an answer, in chunks, and how often something was left out of it, by reason."""
        start = time.perf_counter()
        readings = [
            outcome.reading
            for target in targets
            if (outcome := outcomes.get(target.metrics_url)) and outcome.reading is not None
        ]
        chunks, faults = merge(readings, wanted.format, self._own_metrics(targets, outcomes))
        merged = time.perf_counter()
        chunks = Encoder().encode(wanted.encoding, chunks)
        spent = {"merge": merged - start, "compress": time.perf_counter() - merged}
        self.durations = {**self.durations, **spent}
        self._observe(spent)
        return chunks, faults


def _log_change(target: Target, before: Outcome | None, now: Outcome) -> None:
    """Log that a target went down, or came up again."""
    told = {"worker": target.worker_addr, "url": target.metrics_url}
    was_down = before is not None and before.reading is None
    if now.reading is None and not was_down:
        _logger.warning("target is down", extra=fields(**told, problem=now.problem))
    elif now.reading is not None and was_down:
        _logger.info("target is up again", extra=fields(**told))


def _retrieve_error(done: "asyncio.Future[Any]") -> None:
    if not done.cancelled():  # asyncio logs an exception that is never retrieved
        done.exception()
