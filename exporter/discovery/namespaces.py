"""The pids of other pid namespaces: file names hold the pid that a writer has in its own."""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import NamedTuple

from exporter.discovery.proc import Proc

_FRESH = 0.05
"""Seconds for which all workers may use one listing: those that one scrape has looked at, above all."""


class _Known(NamedTuple):
    """What a listing came to; never changed, only replaced, so that any thread may read it."""

    marks: Mapping[int, int] = {}
    """What tells a process from a later one of its pid, as `Proc.listing` gives it."""
    inner: Mapping[int, tuple[int, str]] = {}
    """A process's pid namespace and its pid there, by our pid. The namespace is 0 if it is ours or unknown."""
    ours: Mapping[int, Mapping[str, int]] = {}
    """Our pids by namespace, then by the pid there."""


class PidNamespaces:
    """Which process of ours has which pid in its own namespace."""

    def __init__(self, proc: Proc, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds."""
        self._proc = proc
        self._clock = clock
        self._known = _Known()
        self._listed = -math.inf

    def pids(self, namespace: int) -> Mapping[str, int]:
        """Return our pids of a namespace's processes, by their pid there, as of a moment ago.

        Only what is new is looked at. Only one thread at a time may call it.
        """
        now = self._clock()
        if now >= self._listed + _FRESH:
            self._listed = now
            self._list()
        return self._known.ours.get(namespace, {})

    def known_pid(self, namespace: int, pid: str) -> int | None:
        """Return our pid of the process that has that pid in the namespace, if it was listed and still exists.

        Any thread may call it.
        """
        known = self._known
        ours = known.ours.get(namespace, {}).get(pid)
        return ours if ours and self._proc.mark(ours) == known.marks[ours] else None

    def _list(self) -> None:
        before, marks = self._known, self._proc.listing()
        if marks == before.marks:
            return
        inner = {
            pid: before.inner[pid] if before.marks.get(pid) == mark else self._look_up(pid)
            for pid, mark in marks.items()
        }
        ours: dict[int, dict[str, int]] = defaultdict(dict)
        for pid, (number, name) in inner.items():
            ours[number][name] = pid
        self._known = _Known(marks, inner, dict(ours))

    def _look_up(self, pid: int) -> tuple[int, str]:
        try:
            status = self._proc.status(pid)
            if status is None or len(status.pids) == 1:  # of the pid namespace that /proc shows
                return 0, str(pid)
            return self._proc.namespace(pid, "pid"), str(status.pids[-1])
        except PermissionError:
            return 0, str(pid)
