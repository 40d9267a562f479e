"""What the host knows of a directory's files, and of the processes that may have written them."""

import os
from collections.abc import Collection

from exporter.multiproc.dbfile import is_set_up
from exporter.multiproc.processes import Process, all_pids, exists, find_process, is_seen

_FEW = 200
"""Pids up to which asking for each costs less than a listing of all processes."""


class HostEvidence:
    """Answers from the file system and /proc, afresh at each question."""

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def existing(self, pids: frozenset[str]) -> Collection[str]:
        """Return which of these pids processes have that can be seen."""
        return [*filter(is_seen, pids)] if len(pids) <= _FEW else pids & set(all_pids())

    def find_process(self, pid: str) -> Process | None:
        """Return the process of that pid, as `processes.find_process` does; None if there is none."""
        return find_process(pid) if exists(pid) else None

    def is_set_up(self, name: str) -> bool:
        """Whether a writer has set up the file of that name."""
        return is_set_up(f"{self._directory}/{name}")

    def last_write(self, name: str) -> float:
        """Return a file's mtime in Unix seconds; 0 if the file is gone."""
        try:
            return os.stat(f"{self._directory}/{name}", follow_symlinks=False).st_mtime  # noqa: PTH116 - a plain string
        except OSError:
            return 0.0
