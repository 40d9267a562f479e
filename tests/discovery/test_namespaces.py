import os
from pathlib import Path

from exporter.discovery.namespaces import PidNamespaces
from exporter.discovery.parsing import Status
from exporter.discovery.proc import Proc
from tests.support.hosts import TestsProcesses, container, hosted


class Written(Proc):
    """A /proc in which each process has the pids given, from ours to its own; the odd ones may not be seen."""

    def __init__(self) -> None:
        super().__init__()
        self.processes: dict[int, tuple[int, ...]] = {}
        self.reads = 0
        self.listings = 0

    def listing(self) -> dict[int, int]:
        self.listings += 1
        return {pid: self.mark(pid) for pid in self.processes}

    def mark(self, pid: int) -> int:
        return hash(self.processes[pid]) if pid in self.processes else 0

    def status(self, pid: int) -> Status | None:
        self.reads += 1
        return Status(0, 0, self.processes[pid]) if self.processes[pid] else None

    def namespace(self, pid: int, kind: str) -> int:
        assert kind == "pid"
        if pid == 13:
            raise PermissionError
        return 4


class Over:
    """Namespaces over a time that each question moves on by a second."""

    def __init__(self, proc: Proc) -> None:
        self.now = 0.0
        self.namespaces = PidNamespaces(proc, lambda: self.now)

    def pids(self, number: int) -> dict[str, int]:
        self.now += 1
        return dict(self.namespaces.pids(number))


def test_only_processes_of_the_namespace_are_known_by_their_own_pid() -> None:
    proc = Written()
    proc.processes = {10: (10,), 11: (11, 1), 12: (12, 5, 2), 13: (13, 3), 14: ()}
    over = Over(proc)
    assert over.pids(4) == {"1": 11, "2": 12}
    assert over.pids(0).keys() == {"10", "13", "14"}


def test_only_what_is_new_is_looked_at() -> None:
    proc = Written()
    proc.processes = {11: (11, 1)}
    over = Over(proc)
    over.pids(4)
    proc.processes = {12: (12, 1)}
    assert over.pids(4) == {"1": 12}
    assert over.pids(4) == {"1": 12}
    assert proc.reads == 2


def test_a_pid_that_another_process_has_is_looked_at_again() -> None:
    proc = Written()
    proc.processes = {11: (11, 1)}
    over = Over(proc)
    over.pids(4)
    proc.processes = {11: (11, 7)}
    assert over.namespaces.known_pid(4, "1") is None
    assert over.pids(4) == {"7": 11}


def test_questions_at_the_same_time_share_a_listing() -> None:
    proc = Written()
    proc.processes = {11: (11, 1)}
    over = Over(proc)
    over.pids(4)
    assert over.namespaces.pids(4) == {"1": 11}
    assert proc.listings == 1


def test_a_known_process_is_found_without_a_listing() -> None:
    proc = Written()
    proc.processes = {11: (11, 1)}
    over = Over(proc)
    assert over.namespaces.known_pid(4, "1") is None
    over.pids(4)
    assert over.namespaces.known_pid(4, "1") == 11
    proc.processes = {}
    assert over.namespaces.known_pid(4, "1") is None
    assert proc.listings == 1


def test_a_real_container() -> None:
    proc = TestsProcesses()
    with hosted(Path("/nowhere"), writers=0, prefix=container()):
        (inner,) = (
            pid for pid in proc.pids() if proc.namespace(pid, "pid") != proc.namespace(os.getpid(), "pid")
        )
        assert PidNamespaces(proc).pids(proc.namespace(inner, "pid")) == {"1": inner}
