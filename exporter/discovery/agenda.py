"""When each process is to be inspected again; the price is that of the processes that are due."""

from heapq import heappop, heappush


class Agenda:
    """One appointment per process: the last that was made."""

    def __init__(self) -> None:
        self._due: dict[int, float] = {}
        self._queue: list[tuple[float, int]] = []
        """All appointments, the next one first; those that were changed or dropped are passed over."""

    def put(self, pid: int, due: float) -> None:
        """Make an appointment, in seconds of the caller's clock, in place of the one that the process has."""
        self._due[pid] = due
        heappush(self._queue, (due, pid))

    def drop(self, pid: int) -> None:
        """Forget a process."""
        self._due.pop(pid, None)

    def take(self, now: float) -> list[int]:
        """Return the processes that are due, those that have waited longest first; they have no appointment now."""
        taken = []
        while self._queue and self._queue[0][0] <= now:
            due, pid = heappop(self._queue)
            if self._due.get(pid) == due:
                del self._due[pid]
                taken.append(pid)
        return taken
