"""The pids of other pid namespaces: file names hold the pid that a writer has in its own."""

from collections.abc import Mapping

from exporter.discovery.proc import Proc


class PidNamespaces:
    """Which process of ours has which pid in its own namespace. Only one thread at a time may call it."""

    def __init__(self, proc: Proc) -> None:
        self._proc = proc
        self._known: dict[int, tuple[int, str]] = {}
        """A process's pid namespace and its pid there, by our pid. The namespace is 0 if it is ours or unknown."""

    def pids(self, namespace: int) -> Mapping[str, int]:
        """Return our pids of a namespace's processes as of now, by their pid there; only what is new is looked at."""
        pids = self._proc.pids()
        for pid in self._known.keys() - pids:
            del self._known[pid]
        for pid in pids - self._known.keys():
            self._known[pid] = self._look_up(pid)
        return {inner: pid for pid, (number, inner) in self._known.items() if number == namespace}

    def _look_up(self, pid: int) -> tuple[int, str]:
        try:
            status = self._proc.status(pid)
            if status is None or len(status.pids) == 1:  # of the pid namespace that /proc shows
                return 0, str(pid)
            return self._proc.namespace(pid, "pid"), str(status.pids[-1])
        except PermissionError:
            return 0, str(pid)
