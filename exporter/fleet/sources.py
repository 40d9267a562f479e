"""Sources of targets, and the targets of all of them. A source that fails keeps its previous targets."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from typing import Any, Protocol

from exporter.fleet.targets import Target, TargetError, apart, distinct
from exporter.fleet.vanished import Vanished, WasUp, keep
from exporter.logs import fields

MAX_SIZE = 16 << 20
"""Most bytes of a workers file, or of SMG's answer; a larger one is refused."""
_PATIENCE = 5.5
"""Seconds that a source has to be read: a little more than SMG has to answer."""
_LONGEST_REASON = 300
"""Most characters of the reason why an entry is skipped, since an entry may be of any length."""
_NAMED = 5
"""Most skipped entries, or vanished workers, that are told of by more than their number."""

_logger = logging.getLogger(__name__)


class SourceError(Exception):
    """A source that cannot be read; the message is one line."""


class TargetReader(Protocol):
    """Reads the entries of a source."""

    async def read(self) -> Iterable[Target | TargetError]:
        """Return the target of each entry, or why it has none; raises SourceError if the source cannot be read."""


class Source:
    """One source, with its targets as of the last successful refresh."""

    def __init__(
        self,
        name: str,
        reader: TargetReader,
        *,
        quiet: bool = False,
        was_up: WasUp = lambda _target, _since: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Name the source in metrics and logs: `file`, `smg`. Unless `quiet`, refreshes that bring news are logged.

        `was_up` tells what scrapes found of a target since a time of the `clock`.
        """
        self.name = name
        self.targets: tuple[Target, ...] = ()
        self.problem = f"{name}: not read yet"
        """Why the last refresh failed; empty if it succeeded."""
        self.skipped = 0
        """Number of entries without a target in the last successful refresh."""
        self.reasons: tuple[str, ...] = ()
        """Why the first few of these have none."""
        self.last_success: float | None = None
        """When the last successful refresh was, in Unix seconds."""
        self.vanished: Sequence[Vanished] = ()
        """Targets that the source ceased to list, and that are not known to be up."""
        self._reader = reader
        self._reading: asyncio.Task[Iterable[Target | TargetError]] | None = None
        self._quiet = quiet
        self._was_up = was_up
        self._clock = clock

    async def refresh(self) -> None:
        """Read the source again; a failure leaves the targets as they are, and is logged if it is a new one."""
        try:
            found = apart(await self._read())
        except SourceError as error:
            if self.problem != str(error) and not self._quiet:
                _logger.warning(
                    "refresh of targets failed; keeping the previous ones",
                    extra=fields(source=self.name, problem=error),
                )
            self.problem = str(error)
            self._keep_vanished(self.targets)
            return
        targets = tuple(entry for entry in found if isinstance(entry, Target))
        errors = [entry for entry in found if isinstance(entry, TargetError)]
        is_news = targets != self.targets or len(errors) != self.skipped or self.problem
        self._keep_vanished(targets)
        self.targets, self.skipped, self.problem = targets, len(errors), ""
        self.reasons = tuple(str(error)[:_LONGEST_REASON] for error in errors[:_NAMED])
        self.last_success = time.time()
        if is_news and not self._quiet:
            self._log()

    async def _read(self) -> Iterable[Target | TargetError]:
        """Return the source's entries; raises SourceError if it cannot be read, or not in time.

        A reading that hangs, as on a disk, goes on; until it has ended, no other is begun.
        """
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._reader.read())
            self._reading.add_done_callback(_retrieve_error)  # no refresh may be waiting for it any more
        reading = self._reading
        await asyncio.wait([reading], timeout=_PATIENCE)
        if not reading.done():
            raise SourceError(f"{self.name}: not read within {_PATIENCE:g} s")
        return reading.result()

    def _log(self) -> None:
        """Log how many targets there are, and why the first few entries without one are skipped."""
        _logger.info(
            "targets changed",
            extra=fields(source=self.name, targets=len(self.targets), skipped=self.skipped),
        )
        for reason in self.reasons:
            _logger.warning("target skipped", extra=fields(source=self.name, problem=reason))

    def let_go(self, targets: Collection[Target]) -> None:
        """Keep these targets no longer, if they have vanished: they are up. Note which of the others are down."""
        self.vanished = [one for one in self.vanished if one.target not in targets]
        self._keep_vanished(self.targets)

    def _keep_vanished(self, listed: Sequence[Target]) -> None:
        """Decide which targets are kept though they are not `listed` now; log those just found to be down."""
        known = {one.target for one in self.vanished if one.is_down}
        self.vanished = keep(self.vanished, self.targets, listed, self._was_up, self._clock())
        new = [one.target.worker_addr for one in self.vanished if one.is_down and one.target not in known]
        if new and not self._quiet:
            _logger.warning(
                "workers vanished from their source while down; kept as targets for ten minutes",
                extra=fields(source=self.name, count=len(new), workers=",".join(new[:_NAMED])),
            )

    async def run(self, wakeups: AsyncIterator[None]) -> None:
        """Refresh at each wake-up, until cancelled."""
        async for _ in wakeups:
            await self.refresh()

    def close(self) -> None:
        """Cancel the reading under way, if any."""
        if self._reading is not None:
            self._reading.cancel()


class Discovery:
    """The targets of all sources: the `fixed` ones of options, then each source's, then vanished ones that are kept.

    Of a worker, the first target counts.
    """

    def __init__(self, fixed: Sequence[Target], sources: Sequence[Source]) -> None:
        self.sources = tuple(sources)
        self._fixed = tuple(fixed)
        self._lists: tuple[tuple[Target, ...], ...] = ()
        self._targets: tuple[Target, ...] = ()

    @property
    def targets(self) -> tuple[Target, ...]:
        """The present targets, without duplicates."""
        lists = (*self._listed(), tuple(one.target for source in self.sources for one in source.vanished))
        if lists != self._lists:
            self._lists = lists
            self._targets = distinct(target for targets in lists for target in targets)
        return self._targets

    @property
    def listed(self) -> frozenset[str]:
        """Addresses of the workers that options and sources list now: all targets but the vanished ones."""
        return frozenset(target.worker_addr for targets in self._listed() for target in targets)

    @property
    def undecided(self) -> Sequence[Target]:
        """Vanished targets that no scrape has found up or down since: whether to keep them is to be found out."""
        undecided = [one.target for source in self.sources for one in source.vanished if not one.is_down]
        listed = self.listed if undecided else ()
        return [target for target in undecided if target.worker_addr not in listed]

    def let_go(self, targets: Collection[Target]) -> None:
        """Keep these vanished targets no longer: they are up."""
        for source in self.sources:
            source.let_go(targets)

    def _listed(self) -> tuple[tuple[Target, ...], ...]:
        return self._fixed, *(source.targets for source in self.sources)

    @property
    def unread(self) -> str:
        """Which sources have never been read, and why; empty if all have."""
        problems = [source.problem for source in self.sources if source.last_success is None]
        return f"not all targets are known: {'; '.join(problems)}" if problems else ""

    @property
    def problem(self) -> str:
        """Why there is no target; empty if there is one."""
        if self.targets:
            return ""
        problems = [source.problem or f"{source.name}: names no worker" for source in self.sources]
        return f"no target: {'; '.join(problems)}"


def _retrieve_error(done: "asyncio.Future[Any]") -> None:
    if not done.cancelled():  # asyncio logs an exception that is never retrieved
        done.exception()


async def every(seconds: float) -> AsyncIterator[None]:
    """Yield once per interval, first after one interval."""
    while True:
        await asyncio.sleep(seconds)
        yield
