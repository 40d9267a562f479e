"""A worker's directory over time: when to look at it, and the file set that a look gives.

Directory events are only hints; what a look finds is what counts. A look is done at each event, at regular ticks, and
before a scrape if the last look is too old. Only a look replaces the file set, and a file set is immutable.
"""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from typing import Protocol

from watchfiles import awatch

from exporter.logs import by_number, fields, some
from exporter.multiproc.directories import Directories
from exporter.multiproc.evidence import HostEvidence
from exporter.multiproc.fileset import FileSet, decide, ended, unreadable
from exporter.multiproc.listing import Lister
from exporter.multiproc.liveness import Evidence, Liveness
from exporter.multiproc.processes import alone_in_pid_namespace
from exporter.threads import in_thread

_TICK = 5.0
"""Seconds between two looks if no event comes."""

_BLIND_TICK = 1.5
"""The same if the ends of processes are not reported as events (no pidfd)."""

_DEAF_TICK = 0.5
"""The same while there is no directory, and right after an event watch begins, which may miss the first events."""

_HURRIED_TICK = 0.1
"""The same if the last read left work for the next one."""

_FRESH = 0.5
"""Seconds for which a scrape may use the last look."""

_EVENT_STEP = 400
"""watchfiles' polling interval in milliseconds; its default of 50 costs more CPU than all scrapes."""

_EVENT_TIMEOUT = 60_000
"""Milliseconds after which watchfiles' wait for events restarts; a restart costs some CPU."""

_RETRY = 60.0
"""Seconds after which a directory is watched after all, if fewer others are by then."""

_MOST_WATCHES = 32
"""Workers whose events are watched at a time. Each takes an inotify instance, of which a user has 128 by default, and a
thread of the 40 that watchfiles uses; further workers have the ticks."""

_watches = asyncio.Semaphore(_MOST_WATCHES)

_logger = logging.getLogger(__name__)


class Waker(Protocol):
    """Says when to look again."""

    async def wait(self, files: FileSet, *, hurry: bool) -> None:
        """Return when it is time to look; `files` is the file set of the last look, `hurry` asks for a short wait."""

    def close(self) -> None:
        """Release all resources."""


class Watcher:
    """Keeps the file set of one directory."""

    def __init__(
        self,
        directory: str,
        liveness: Liveness,
        waker: Waker | None = None,
        evidence: Evidence | None = None,
        lister: Lister | Directories | None = None,
        *,
        name: str = "",
        quiet: bool = False,
    ) -> None:
        """Look at `directory` whenever `waker` says so; at directory events and ticks by default.

        `lister` lists it, or several directories below it; `name` is what messages call it. `quiet`: do not log
        changes.
        """
        if liveness is Liveness.AUTO and alone_in_pid_namespace():
            liveness = Liveness.OFF
        self.name = name or directory
        """The directory, or the patterns of several, for messages."""
        self.current = FileSet(directory)
        """The file set as of the last look."""
        self.last_look: float | None = None
        """When the last look ended, in seconds of the monotonic clock; None before the first."""
        self.busy_since: float | None = None
        """When the running look began, by the same clock; None if none is running, or only a scrape's."""
        self._liveness = liveness
        self._waker = waker or EventsAndTicks()
        self._evidence = evidence or HostEvidence(directory)
        self._lister = lister or Lister(directory)
        self._quiet = quiet
        self._looking = threading.Lock()
        self._moved: set[str] = set()
        self._is_stopped = False

    async def run(self, on_look: Callable[[bool], bool]) -> None:
        """Look whenever the waker says so, until cancelled.

        After each look, `on_look` is told whether the file set changed, and returns whether to look again soon.
        """
        try:
            while True:
                before = self.current
                await self.look()
                hurry = on_look(self.current is not before)
                await self._waker.wait(self.current, hurry=hurry)
        finally:
            self._waker.close()

    async def look(self) -> None:
        """Look at the directory and the processes now."""
        self.busy_since = time.monotonic()
        await in_thread(self._look)
        self.busy_since = None

    def fresh(self) -> FileSet:
        """Return a file set fresh enough for a scrape, after a look if need be; blocks."""
        self._look(unless_within=_FRESH)
        return self.current

    def report_moved(self, writers: Iterable[str]) -> None:
        """Note writers, not known to live, that changed files between two reads, for the next look. May block."""
        with self._looking:
            self._moved.update(writers)

    def stop(self, problem: str) -> None:
        """Never look again: all processes have ended, or there is no directory, as `problem` says. May block."""
        with self._looking:
            self._is_stopped = True
            self.last_look = time.monotonic()
            if self.current.problem != problem:
                self.current = ended(self.current, problem)

    def _look(self, unless_within: float = 0.0) -> None:
        """Look, unless the last look ended less than `unless_within` seconds ago."""
        with self._looking:  # a scrape looks from another thread
            if self._is_stopped:
                return
            if self.last_look is not None and time.monotonic() < self.last_look + unless_within:
                return
            before = self.current
            moved, self._moved = self._moved, set()
            try:
                listing = self._lister.list(before.listing)
                self.current = decide(before, listing, self._evidence, self._liveness, moved)
            except OSError as error:
                self.current = unreadable(before, f"{self.name}: {error.strerror}")
            self.last_look = time.monotonic()
            if self.current is not before and not self._quiet:
                _log_change(self.name, before, self.current)


class EventsAndTicks:
    """Wakes at events of the directories, when a writer ends, and when neither happens for a while."""

    def __init__(self, tick: float | None = None, own_pid: Callable[[str], int | None] = int) -> None:
        """`tick` is the longest wait for an event, in seconds, if it is not the usual one.

        `own_pid` returns our pid of a writer that a file names; None if it has ended.
        """
        self._tick = tick
        self._event = asyncio.Event()
        self._watched: Mapping[str, tuple[int, int]] = {}
        self._watch: asyncio.Task[None] | None = None
        self._ends = _Ends(self._event, own_pid)

    async def wait(self, files: FileSet, *, hurry: bool) -> None:
        """Return at the next event or tick."""
        if files.listing is None:
            await asyncio.sleep(_DEAF_TICK)
            return
        self._ends.watch(files.living)
        tick = self._tick or (_TICK if self._ends.are_seen else _BLIND_TICK)
        if self._watch is None or self._watch.done() or self._watched != files.listing.directories:
            self._stop_watch()
            self._watched = files.listing.directories
            self._watch = asyncio.create_task(self._pass_events_on(self._watched))
            tick = _DEAF_TICK
        with suppress(TimeoutError):
            async with asyncio.timeout(_HURRIED_TICK if hurry else tick):
                await self._event.wait()
        self._event.clear()

    def close(self) -> None:
        """Stop waiting for events."""
        self._stop_watch()
        self._ends.watch(())

    def _stop_watch(self) -> None:
        if self._watch is not None:
            self._watch.cancel()

    async def _pass_events_on(self, directories: Collection[str]) -> None:
        """Set the event at each change, until a directory itself goes: inotify watches the inode, not the path.

        Where too many others are watched, end after a while, so that it is tried again; the ticks go on waking.
        """
        if _watches.locked():
            await asyncio.sleep(_RETRY)
            return
        async with _watches:  # never waits
            with suppress(
                OSError, RuntimeError
            ):  # no such directory, or no inotify left: the ticks still wake
                async for changes in awatch(
                    *directories,
                    watch_filter=None,
                    recursive=False,
                    debounce=100,
                    step=_EVENT_STEP,
                    rust_timeout=_EVENT_TIMEOUT,
                ):
                    self._event.set()
                    if any(path in directories for _, path in changes):
                        return


class _Ends:
    """Sets an event when a watched process ends."""

    def __init__(self, event: asyncio.Event, own_pid: Callable[[str], int | None]) -> None:
        self.are_seen = True
        """Whether the end of every watched process will be noticed: each has a pidfd."""
        self._event = event
        self._own_pid = own_pid
        self._descriptors: dict[str, int] = {}
        """pidfds by pid. A pidfd turns readable when its process ends, even if the process stays a zombie."""

    def watch(self, pids: Collection[str]) -> None:
        """Watch these processes from now on, and no other."""
        loop = asyncio.get_running_loop()
        for pid in self._descriptors.keys() - pids:
            self._let_go(pid)
        self.are_seen = True
        for pid in pids:
            if pid not in self._descriptors:
                try:
                    # 0 is nobody's pid.
                    self._descriptors[pid] = descriptor = os.pidfd_open(self._own_pid(pid) or 0)
                except ProcessLookupError:  # it has ended since the last look
                    self._event.set()
                except OSError:
                    self.are_seen = False
                else:
                    loop.add_reader(descriptor, self._end, pid)

    def _end(self, pid: str) -> None:
        self._let_go(pid)
        self._event.set()

    def _let_go(self, pid: str) -> None:
        descriptor = self._descriptors.pop(pid)
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)


def _log_change(name: str, before: FileSet, after: FileSet) -> None:
    """Log changes of the directory, the worker's state and liveness. New or removed files alone are not logged."""
    if after.problem and after.problem != before.problem:
        _logger.warning("directory cannot be read", extra=fields(problem=after.problem))
    elif after.epoch != before.epoch or (after.listing and not before.listing):
        _logger.info("watching directory", extra=fields(directory=name, files=len(after.files)))
    if after.worker_up is not before.worker_up:
        state = {True: "up", False: "down", None: "unknown"}[after.worker_up]
        counts = {str(state): count for state, count in after.processes.items()}
        _logger.info(
            "worker state changed",
            extra=fields(worker=state, directory=name, **counts, processes=some(by_number(after.writers))),
        )
    if after.foreign and not before.foreign:
        _logger.warning(
            "files change, but their writers' pids do not exist in this pid namespace: liveness is unknown",
            extra=fields(directory=name, hint="share the pid namespace, or set --liveness off"),
        )
