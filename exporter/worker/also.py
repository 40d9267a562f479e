"""Another exposition of the worker, `--also URL`: fetched at each scrape, and served in the same answer."""

import asyncio
import logging
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

from exporter.errors import ScrapeError
from exporter.exposition.combine import Combiner
from exporter.exposition.text import escape
from exporter.logs import fields
from exporter.model import Labels, Snapshot
from exporter.scraping.admission import LEFT_OUT, Admission
from exporter.scraping.client import Answer, TargetFailure, make_session, scrape, trusting
from exporter.scraping.reading import BadExpositionError, BodyReader, Reading
from exporter.scraping.snapshots import Snapshots
from exporter.threads import DaemonThread
from exporter.worker.reads import Then
from exporter.worker.scrape import LATE
from exporter.worker.status import AlsoStatus

MAX_BYTES = 16 << 20
"""Size beyond which an exposition is refused."""

_PATIENCE = 2.0
"""Seconds that a fetch may take: the exposition is of this host."""

_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
_logger = logging.getLogger(__name__)


@asynccontextmanager
async def fetching(
    urls: Sequence[str],
    labels: Callable[[], Labels],
    reserved_names: Collection[str] = (),
    *,
    quiet: bool = False,
) -> AsyncIterator[list["Also"]]:
    """Make an `Also` for each URL, for as long as the context lasts."""
    if not urls:
        yield []
        return
    # The system's certificates take 2 MiB.
    tls = trusting(None) if any(url.startswith("https:") for url in urls) else _NO_TLS
    async with make_session(tls) as session:
        get = partial(scrape, session, limit=MAX_BYTES)
        yield [Also(url, get, labels, reserved_names, quiet=quiet) for url in urls]


class Also:
    """One of the expositions, as a guest in answers (`scrape.Guest`): fetched in the event loop, read in a thread."""

    def __init__(
        self,
        url: str,
        get: Callable[[str], Awaitable[Answer]],
        labels: Callable[[], Labels],
        reserved_names: Collection[str] = (),
        *,
        patience: float = _PATIENCE,
        quiet: bool = False,
    ) -> None:
        """Get the exposition by `get`, which may raise TargetFailure, and add what `labels` returns to every series.

        A family that needs one of the `reserved_names` is left out. A fetch may take `patience` seconds. `quiet`: do
        not log when the exposition goes or comes back.
        """
        self.snapshot: Snapshot = ()
        """All families and values at the last fetch; none if it failed."""
        self.seconds: Mapping[str, float] = {}
        """Seconds that the last answer took to read, as `read`."""
        self.busy_since: float | None = None
        """When the running fetch began, in seconds of the monotonic clock; None if none is running."""
        self._url = url
        self._status = AlsoStatus(url)
        self._left_out: Counter[str] = Counter(dict.fromkeys(LEFT_OUT, 0))
        self._get = get
        self._patience = patience
        self._quiet = quiet
        self._labels = labels
        self._start_anew(())
        self._admission = Admission(reserved_names)
        self._combiner = Combiner()
        self._thread = DaemonThread()
        self._waiting: list[Then] = []
        self._task: asyncio.Task[None] | None = None

    @property
    def status(self) -> AlsoStatus:
        """What the last fetch brought."""
        return replace(self._status, left_out=dict(self._left_out))

    def add_to(self, others: Snapshot, snapshot: Snapshot) -> Snapshot:
        """Return `others`, and what of a snapshot of this exposition can be served beside them."""
        admitted = self._admission.admit(snapshot, others)
        self._left_out.update(self._admission.left_out)
        return self._combiner.combine([others, admitted])

    # --- Asked at each scrape ---

    def ask(self, then: Then) -> None:
        """Have a fetch begin after this call, and call `then` after it with its error or None, in a thread."""
        self._waiting.append(then)
        if self._task is None:
            self._task = asyncio.create_task(self._fetch_for_all())

    def withdraw(self, then: Then) -> None:
        """Do not call `then`, unless its fetch has begun."""
        if then in self._waiting:
            self._waiting.remove(then)

    def leave_out(self, reason: str) -> None:
        """Note an answer without this exposition; a fetch that failed has been noted already."""
        if reason == LATE:
            self._note(AlsoStatus(self._url, up=False, problem="no whole answer in time"))

    # --- One fetch ---

    async def fetch(self, waiting: Iterable[Then] = ()) -> None:
        """Fetch and read the exposition; call those who wait, with a ScrapeError if there is nothing to serve."""
        status = AlsoStatus(self._url, up=False)
        try:
            async with asyncio.timeout(self._patience):
                answer = await self._get(self._url)
                status = await self._thread.run(partial(self._read, answer))
        except (TargetFailure, BadExpositionError) as failure:
            status = replace(status, problem=str(failure))
        except TimeoutError:
            status = replace(status, problem=f"no whole answer within {self._patience:g} s")
        except Exception as error:  # the answer must be made all the same
            _logger.exception("unexpected error while fetching an exposition", extra=fields(url=self._url))
            status = replace(status, problem=f"internal error: {type(error).__name__}")
        await self._thread.run(partial(self._conclude, status, waiting))

    async def _fetch_for_all(self) -> None:
        """Fetch for those who wait, and again for those who have asked meanwhile."""
        try:
            while self._waiting:
                waiting, self._waiting = self._waiting, []
                self.busy_since = time.monotonic()
                await self.fetch(waiting)
        finally:
            self._task = self.busy_since = None

    def _start_anew(self, labels: Labels) -> None:
        """Forget what was read with other labels."""
        self._added = labels
        escaped = tuple((name, escape(value)) for name, value in labels)
        self._reader = BodyReader(escaped, keeps_addresses=True)
        self._reading: Reading | None = None
        self._snapshots = Snapshots()

    def _read(self, answer: Answer) -> AlsoStatus:
        start = time.perf_counter()
        if (labels := self._labels()) != self._added:  # a worker that was found has other ones than before
            self._start_anew(labels)
        self._reading = self._reader.read(answer.body(MAX_BYTES), before=self._reading)
        self.snapshot = self._snapshots.take(self._reading)
        self._left_out.update(self._reading.layout.faults)
        self.seconds = {"read": time.perf_counter() - start}
        return AlsoStatus(self._url, up=True, samples=self._reading.layout.samples)

    def _conclude(self, status: AlsoStatus, waiting: Iterable[Then]) -> None:
        if not status.up:
            self.snapshot = ()
        self._note(status)
        for then in waiting:
            then(None if status.up else ScrapeError(f"{self._url}: {status.problem}"))

    def _note(self, status: AlsoStatus) -> None:
        """Take over a status; log when the exposition goes, and when it is back."""
        before, self._status = self._status, status
        if self._quiet or status.up is before.up:
            return
        if not status.up:
            _logger.warning(
                "exposition of --also left out", extra=fields(url=self._url, problem=status.problem)
            )
        elif before.up is False:
            _logger.info("exposition of --also is back", extra=fields(url=self._url))
