"""The worker's directory over time: directory events and rescans -> the file set.

Events are hints, which come early; a rescan is the truth, and comes at least every half second. Nothing else changes
the file set, and each file set is immutable.
"""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable

from watchfiles import awatch

from exporter.logs import fields
from exporter.multiproc.fileset import FileSet, Listing, Liveness, decide, list_directory, unreadable
from exporter.multiproc.processes import Process, alone_in_pid_namespace, find_process
from exporter.threads import in_thread

_INTERVAL = 0.5
"""Seconds between two rescans when no event comes."""

_RELIST = 5.0
"""Seconds after which a directory is listed again although its mtime has not moved: not every file system keeps it."""

_TICK = 0.1
"""Seconds within which two changes of a directory may leave the same mtime."""

_logger = logging.getLogger(__name__)


class Watcher:
    """Keeps the file set of one directory."""

    def __init__(
        self,
        directory: str,
        liveness: Liveness,
        wakeups: Callable[["Watcher"], AsyncIterator[None]] | None = None,
        find: Callable[[str], Process | None] = find_process,
    ) -> None:
        """Look at `directory` whenever `wakeups` yields; at directory events and half-second ticks by default."""
        if liveness is Liveness.AUTO and alone_in_pid_namespace():
            liveness = Liveness.OFF
        self.current = FileSet(directory)
        """The file set as of the last rescan."""
        self.last_look: float | None = None
        """When the last rescan was done, in seconds of the monotonic clock; None before the first."""
        self._liveness = liveness
        self._wakeups = wakeups or _events_and_ticks
        self._find = find
        self._moved: set[str] = set()
        self._listing: Listing | None = None
        self._listed = 0.0

    async def run(self, on_change: Callable[[], None]) -> None:
        """Rescan until cancelled, and call `on_change` when that made a difference."""
        async for _ in self._wakeups(self):
            before = self.current
            await self.rescan()
            if self.current is not before:
                _log_change(before, self.current)
                on_change()

    async def rescan(self) -> None:
        """Look at the directory and the processes now."""
        self.current = await in_thread(self._look)
        self.last_look = time.monotonic()

    def report_moved(self, pids: Iterable[str]) -> None:
        """Take note that files of writers not known to live changed between two reads."""
        self._moved.update(pids)

    def _look(self) -> FileSet:
        moved, self._moved = self._moved, set()
        directory = self.current.directory
        try:
            return decide(self.current, self._list(directory), self._find, self._liveness, moved)
        except OSError as error:
            self._listing = None
            return unreadable(self.current, f"{directory}: {error.strerror}")

    def _list(self, directory: str) -> Listing:
        """List the directory, or return the last listing where that is surely still right."""
        now = time.time()
        info = os.stat(directory)  # noqa: PTH116 - a plain string all the way
        unmoved = (
            self._listing
            and (info.st_dev, info.st_ino) == self._listing.identity
            and info.st_mtime + _TICK < self._listed
        )
        if self._listing is None or not unmoved or not self._listed <= now < self._listed + _RELIST:
            self._listed = now
            self._listing = list_directory(directory)
        return self._listing


async def _events_and_ticks(watcher: Watcher) -> AsyncIterator[None]:
    """Yield at directory events, and at least once an interval. awatch goes deaf when the directory is replaced."""
    directory = watcher.current.directory
    while True:
        yield
        watched = watcher.current.identity
        try:
            async for changes in awatch(
                directory,
                watch_filter=None,
                recursive=False,
                debounce=100,
                rust_timeout=int(_INTERVAL * 1000),
                yield_on_timeout=True,
            ):
                yield
                gone = any(path == directory for _, path in changes)  # its successor may get the same inode
                if gone or watcher.current.identity != watched:
                    break
        except (OSError, RuntimeError):  # no such directory, or no inotify to be had: the ticks alone will do
            await asyncio.sleep(_INTERVAL)


def _log_change(before: FileSet, after: FileSet) -> None:
    """Say what an operator would want to know; a file more or less is nothing to tell."""
    if after.problem and after.problem != before.problem:
        _logger.warning("directory cannot be read", extra=fields(problem=after.problem))
    elif after.epoch != before.epoch or (after.listing and not before.listing):
        _logger.info("directory taken up", extra=fields(directory=after.directory, files=len(after.files)))
    if after.worker_up is not before.worker_up:
        state = {True: "up", False: "down", None: "unknown"}[after.worker_up]
        processes = ",".join(sorted(after.writers, key=int))
        _logger.info("worker liveness", extra=fields(worker=state, processes=processes))
    if after.foreign and not before.foreign:
        _logger.warning(
            "files move though none of their writers' pids exist here: treating liveness as unknown",
            extra=fields(hint="share the pid namespace, or say --liveness off"),
        )
