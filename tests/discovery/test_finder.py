import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from exporter.discovery.finder import Finder, Findings
from exporter.discovery.namespaces import PidNamespaces
from exporter.discovery.parsing import OpenFiles, Socket, Stat, Status
from exporter.discovery.proc import Proc
from exporter.discovery.visits import GivenUpError, Visit, Visits
from exporter.discovery.workers import Worker
from tests.support.hosts import TestsProcesses, container, hosted
from tests.support.waiting import eventually


@dataclass
class Written:
    """A process as a test wants it."""

    directories: set[str] = field(default_factory=set)
    sockets: set[int] = field(default_factory=set)
    command: tuple[str, ...] = ("python", "app.py")
    executable: str = "/usr/bin/python3.11"
    named: str = ""
    start_ticks: int = 100
    parent: int = 1
    denied: frozenset[str] = frozenset()
    mapped: set[str] = field(default_factory=set)
    uid: int = 1000
    faults: Mapping[str, Exception] = field(default_factory=dict)


class WrittenProc(Proc):
    """A /proc of written processes, that counts what is read."""

    def __init__(self) -> None:
        super().__init__()
        self.processes: dict[int, Written] = {}
        self.read: list[tuple[str, int]] = []
        self.ports: dict[int, int] = {}
        self.last = 0
        self.listings = 0

    def last_pid(self) -> int:
        return self.last

    def listing(self) -> dict[int, int]:
        self.listings += 1
        return {pid: one.start_ticks for pid, one in self.processes.items()}

    def hides_others(self) -> bool:
        return False

    def stat(self, pid: int) -> Stat | None:
        one = self._of("stat", pid)
        name = one.executable.rpartition("/")[2].encode() if one else b""
        return Stat(one.parent, 1, one.start_ticks, name) if one else None

    def status(self, pid: int) -> Status | None:
        one = self._of("status", pid)
        return Status(one.uid, 0, (pid,)) if one else None

    def command(self, pid: int) -> tuple[str, ...]:
        one = self._of("cmdline", pid)
        return one.command if one else ()

    def executable(self, pid: int) -> str:
        return self.processes[pid].executable

    def variable(self, pid: int, name: bytes) -> str:
        assert name == b"PROMETHEUS_MULTIPROC_DIR"
        return self.processes[pid].named

    def namespace(self, pid: int, kind: str) -> int:
        return 1 if (self._of("namespace", pid) and kind) else 0

    def open_files(self, pid: int) -> OpenFiles:
        one = self._of("fd", pid)
        return (
            OpenFiles(frozenset(one.directories), frozenset(), frozenset(one.sockets))
            if one
            else OpenFiles(frozenset(), frozenset(), frozenset())
        )

    def mapped(self, pid: int) -> OpenFiles:
        one = self._of("maps", pid)
        return OpenFiles(frozenset(one.mapped if one else ()), frozenset(), frozenset())

    def listeners(self, pid: int | str = "self") -> dict[int, Socket]:
        self.read.append(("tcp", int(pid)))
        return {inode: Socket("127.0.0.1", port, 0) for inode, port in self.ports.items()}

    def open_directory(self, pid: int, path: str) -> int:
        self.read.append(("open", pid))
        return os.open(path, os.O_PATH | os.O_DIRECTORY)

    def _of(self, what: str, pid: int) -> Written | None:
        self.read.append((what, pid))
        one = self.processes.get(pid)
        if one and what in one.denied:
            raise PermissionError(what)
        if one and what in one.faults:
            raise one.faults[what]
        return one


class Looks:
    """A finder on a written /proc, at a time that the test sets."""

    def __init__(self) -> None:
        self.proc = WrittenProc()
        self.now = 1000.0
        self.finder = Finder(self.proc, lambda: self.now)

    def after(self, seconds: float) -> Findings:
        """Look once, so many seconds later."""
        self.now += seconds
        self.proc.read.clear()
        return self.finder.look()

    def often(self, times: int, seconds: float = 2.0) -> int:
        """Look so many times; return how often something was read."""
        count = 0
        for _ in range(times):
            self.after(seconds)
            count += len(self.proc.read)
        return count


@pytest.fixture
def looks() -> Looks:
    return Looks()


@pytest.fixture
def metrics(tmp_path: Path) -> str:
    """Make a directory with a metrics file."""
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "counter_7.db").touch()
    return str(tmp_path / "metrics")


# --- What a look costs, and what it finds, on written processes ---


def test_a_python_program_that_opens_its_first_file_late_is_found_by_the_next_look(
    looks: Looks, metrics: str
) -> None:
    looks.proc.processes[7] = Written()
    assert [looks.after(2).workers for _ in range(20)] == [[]] * 20
    looks.proc.processes[7].directories.add(metrics)
    (worker,) = looks.after(2).workers
    assert (worker.path, worker.pids) == (metrics, (7,))


def test_processes_are_not_listed_while_no_pid_is_given(looks: Looks, metrics: str) -> None:
    looks.proc.last = 7
    looks.proc.processes |= {6: Written({metrics}), 7: Written()}
    looks.often(3, seconds=0.5)
    assert looks.proc.listings == 1
    looks.proc.processes[7].directories.add(metrics)
    assert looks.after(0.5).workers[0].pids == (6, 7), "known processes are looked into all the same"
    del looks.proc.processes[6]
    assert looks.after(0.5).workers[0].pids == (7,)
    assert looks.proc.listings == 1
    looks.proc.processes[8], looks.proc.last = Written({metrics}), 8
    assert looks.after(0.1).workers[0].pids == (7, 8)
    assert looks.proc.listings == 2
    looks.proc.processes[9] = Written({metrics})  # of another pid namespace than the pid that was given last
    assert looks.after(2).workers[0].pids == (7, 8)
    assert looks.after(2).workers[0].pids == (7, 8, 9)


def test_other_programs_are_looked_into_ever_more_rarely(looks: Looks) -> None:
    looks.proc.processes |= {pid: Written(executable="/bin/sleep") for pid in range(100, 200)}
    first = looks.often(1)
    hour = looks.often(1800)
    assert first >= 400
    assert looks.often(1800) < hour
    assert looks.often(1800) < 10 * first


def test_an_old_process_that_runs_on_has_only_its_program_and_descriptors_read(looks: Looks) -> None:
    looks.proc.processes |= {7: Written(executable="/bin/sleep"), 8: Written(executable="/bin/sleep")}
    looks.often(100)
    for _ in range(1000):
        looks.after(2)
        assert {what for what, _ in looks.proc.read} <= {"stat", "fd"}
        if looks.proc.read:
            break
    else:
        pytest.fail("it is not looked into at all")


@pytest.mark.parametrize(
    "change",
    [
        {"executable": "/usr/bin/python3"},
        {"executable": "/bin/other-directory/sleep"},
        {"parent": 8},
        {"denied": frozenset({"fd"})},
        {"directories": {"/"}},
    ],
)
def test_an_old_process_that_is_another_one_by_now_is_looked_into(
    looks: Looks, change: dict[str, Any]
) -> None:
    looks.proc.processes[7] = Written(executable="/bin/sleep")
    looks.often(100)
    looks.proc.processes[7] = Written(**{"executable": "/bin/sleep", "command": ("changed",), **change})
    looks.often(700)
    assert looks.finder.processes[7].command == ("changed",)


def test_old_processes_never_hold_up_young_ones(looks: Looks, metrics: str) -> None:
    looks.proc.processes |= {pid: Written(executable="/bin/sleep") for pid in range(1000, 3000)}
    looks.often(5)
    looks.proc.processes[7] = Written(executable="/bin/sh")
    looks.after(2)
    looks.proc.processes[7] = Written({metrics})  # the shell has become a Python program
    looks.after(2)
    assert looks.after(2).workers


def test_a_script_that_becomes_a_program_after_an_hour_is_found_at_once(looks: Looks, metrics: str) -> None:
    looks.proc.processes[7] = Written(executable="/usr/bin/dash", command=("sh", "entrypoint.sh"))
    assert looks.often(1800) < 1800 * 1.1
    looks.proc.processes[7] = Written(
        {metrics}, command=("python", "-m", "server")
    )  # exec: pid and start stay
    (worker,) = looks.after(2).workers
    assert worker.command == ("python", "-m", "server")


def test_a_known_worker_costs_next_to_nothing(looks: Looks, metrics: str) -> None:
    looks.proc.processes |= {pid: Written({metrics}, {5}) for pid in (7, 8, 9)}
    looks.proc.ports = {5: 8001}
    looks.often(40)
    looks.after(0.1)
    assert sorted(looks.proc.read) == [("open", 7), ("stat", 7), ("stat", 8), ("stat", 9)]


def test_a_directory_that_is_replaced_makes_another_worker(looks: Looks, metrics: str) -> None:
    looks.proc.processes[7] = Written({metrics})
    (before,) = looks.after(2).workers
    Path(metrics).rename(f"{metrics}-old")
    assert looks.after(2).workers == []
    Path(metrics).mkdir()
    looks.after(2)
    (after,) = looks.after(2).workers
    assert after.path == before.path
    assert after.identity != before.identity


def test_a_worker_that_goes_over_to_another_directory_is_followed(
    looks: Looks, metrics: str, tmp_path: Path
) -> None:
    looks.proc.processes[7] = Written({metrics})
    looks.often(40)
    (tmp_path / "second").mkdir()
    looks.proc.processes[7].directories = {str(tmp_path / "second")}
    looks.often(70)
    assert [worker.path for worker in looks.finder.findings.workers] == [str(tmp_path / "second")]


def test_a_pid_that_another_process_has_is_no_worker_any_more(looks: Looks, metrics: str) -> None:
    looks.proc.processes[7] = Written({metrics})
    assert looks.after(2).workers
    looks.proc.processes[7] = Written(start_ticks=999)
    assert looks.after(2).workers == []
    looks.proc.processes[7].directories.add(metrics)
    looks.after(2)
    assert looks.after(2).workers


def test_a_worker_ends_with_its_last_process(looks: Looks, metrics: str) -> None:
    looks.proc.processes |= {7: Written({metrics}), 8: Written({metrics})}
    assert looks.after(2).workers[0].pids == (7, 8)
    del looks.proc.processes[7]
    assert looks.after(2).workers[0].pids == (8,)
    del looks.proc.processes[8]
    assert looks.after(2).workers == []


def test_a_server_that_begins_to_listen_later_is_found(looks: Looks, metrics: str) -> None:
    looks.proc.processes[7] = Written({metrics})
    assert looks.after(2).workers[0].server is None
    looks.often(100)
    looks.proc.processes[7].sockets, looks.proc.ports = {5}, {5: 8001}
    looks.often(16)
    assert looks.finder.findings.workers[0].port == 8001


def test_mappings_are_read_where_descriptors_may_not_be(looks: Looks, metrics: str) -> None:
    looks.proc.processes[7] = Written(mapped={metrics}, denied=frozenset({"fd"}))
    findings = looks.after(2)
    assert findings.workers[0].pids == (7,)
    assert findings.denied == {}


def test_what_may_not_be_looked_into_is_counted_by_user(looks: Looks) -> None:
    refused = frozenset({"fd", "maps"})
    looks.proc.processes |= {pid: Written(denied=refused, uid=pid % 2) for pid in range(100, 105)}
    looks.proc.processes[200] = Written(
        denied=frozenset({"maps"})
    )  # of some, root too is refused the mappings
    assert looks.after(2).denied == {0: 3, 1: 2}


@pytest.mark.parametrize("what", ["stat", "status", "namespace", "fd", "maps"])
@pytest.mark.parametrize("fault", [OSError(errno.EMFILE, "Too many open files"), ValueError("no number")])
def test_no_process_ends_a_look(looks: Looks, metrics: str, what: str, fault: Exception) -> None:
    looks.proc.processes |= {
        6: Written(faults={what: fault}),
        7: Written({metrics}),
        8: Written(mapped={metrics}),
    }
    assert [worker.pids for worker in looks.after(2).workers] == [(7, 8)]
    looks.proc.processes[6].faults = {}
    looks.proc.processes[8].faults = {what: fault}
    looks.proc.processes[6].directories.add(metrics)
    looks.after(2)
    assert [worker.pids for worker in looks.after(2).workers] == [(6, 7, 8)], "a fault is no end"


def test_the_command_line_of_a_process_that_made_a_look_hang_is_not_read(metrics: str) -> None:
    at: list[Visit | None] = []

    class Noting(WrittenProc):
        def command(self, pid: int) -> tuple[str, ...]:
            at.append(visits.at)
            return super().command(pid)

    avoided: set[Visit] = set()
    visits = Visits(avoided)
    proc = Noting()
    proc.processes |= {6: Written(start_ticks=5), 7: Written({metrics})}
    finder = Finder(proc, lambda: 1000.0, visits=visits)
    finder.look()
    assert set(at) == {Visit(6, 5), Visit(7, 100)}, "what hangs is known"
    assert visits.at is None, "no process is to blame for what comes after the look"
    proc.read.clear()
    avoided.add(Visit(6, 5))
    finder = Finder(proc, lambda: 1000.0, visits=Visits(avoided))
    (worker,) = finder.look().workers
    assert worker.pids == (7,)
    assert ("cmdline", 6) not in proc.read
    assert 6 in finder.processes
    assert finder.findings.denied == {1000: 1}
    assert finder.lives(Visit(6, 5))
    avoided.clear()
    proc.processes[6].directories.add(metrics)
    assert [worker.pids for worker in finder.look().workers] == [(6, 7)], "it is looked into again"


def test_a_look_that_is_given_up_ends_at_its_next_visit(metrics: str) -> None:
    visits = Visits()

    class Late(WrittenProc):
        def command(self, pid: int) -> tuple[str, ...]:
            visits.give_up()
            return super().command(pid)

    proc = Late()
    proc.processes |= {pid: Written({metrics}) for pid in (6, 7)}
    finder = Finder(proc, lambda: 1000.0, visits=visits)
    with pytest.raises(GivenUpError):
        finder.look()
    assert [pid for what, pid in proc.read if what == "cmdline"] == [6]
    with pytest.raises(GivenUpError):
        finder.visit(7)


def test_a_directory_that_may_not_be_opened_is_told(
    looks: Looks, metrics: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_pid: int, path: str) -> int:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(looks.proc, "open_directory", refuse)
    looks.proc.processes[7] = Written({metrics}, named="/elsewhere")
    findings = looks.after(2)
    assert findings.workers == []
    assert findings.unreadable == {metrics: "Permission denied"}


@pytest.mark.parametrize("named", ["", "relative/path"])
def test_an_environment_that_names_a_directory_without_metrics_files_is_none(
    looks: Looks, tmp_path: Path, named: str
) -> None:
    looks.proc.processes |= {
        6: Written(sockets={5}),
        7: Written(parent=6, named=named or str(tmp_path)),
    }
    looks.proc.ports = {5: 8001}
    assert looks.after(2).workers == []


def test_the_directory_that_only_an_environment_names_is_found_once_it_holds_a_file(
    looks: Looks, tmp_path: Path
) -> None:
    looks.proc.processes |= {6: Written(sockets={5}), 7: Written(parent=6, named=str(tmp_path))}
    looks.proc.ports = {5: 8001}
    assert looks.after(2).workers == []
    (tmp_path / "counter_rust-6.db").touch()
    (worker,) = looks.after(2).workers
    assert (worker.path, worker.port) == (str(tmp_path), 8001)


def test_an_exporter_that_sees_only_its_family_is_alone(looks: Looks) -> None:
    own = os.getpid()
    looks.proc.processes |= {1: Written(parent=0), own: Written(parent=1), 5000: Written(parent=own)}
    assert looks.after(2).is_alone
    looks.proc.processes[7] = Written(parent=1)
    assert not looks.after(2).is_alone


# --- Real processes ---


@pytest.fixture
def finder() -> Finder:
    return Finder(TestsProcesses(), longest_wait=1.0)


@pytest.fixture
def find(finder: Finder) -> Callable[[int], list[Worker]]:
    """Give a function that waits until so many workers are found."""

    def find(count: int) -> list[Worker]:
        def look() -> tuple[list[Worker]] | None:
            found = list(finder.look().workers)
            return (found,) if len(found) == count else None

        return eventually(look, f"{count} workers")[0]

    return find


def counter_files(finder: Finder, worker: Worker) -> set[str]:
    """Return the names of a worker's counter files, read where its first process sees them."""
    descriptor = finder.proc.open_directory(worker.pids[0], worker.path)
    try:
        return {name for name in os.listdir(f"/proc/self/fd/{descriptor}") if name.startswith("counter_")}  # noqa: PTH208 - as in the program
    finally:
        os.close(descriptor)


def test_two_workers_are_found_with_their_ports_and_schemes(
    find: Callable[[int], list[Worker]], tmp_path: Path
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with hosted(tmp_path / "a", "--grpc", writers=2) as first, hosted(tmp_path / "b") as second:
        workers = find(2)
    found = {worker.path: worker.server for worker in workers}
    assert found[str(tmp_path / "a")]
    assert {path: (one.port, one.scheme) for path, one in found.items() if one} == {
        str(tmp_path / "a"): (first.port, "grpc"),
        str(tmp_path / "b"): (second.port, "http"),
    }


def test_a_worker_that_does_not_listen_has_no_server(
    find: Callable[[int], list[Worker]], tmp_path: Path
) -> None:
    with hosted(tmp_path, port=None, prefix=["setsid", "-w"]):
        assert find(1)[0].server is None


def test_containers_with_the_same_path_and_the_same_pids(
    finder: Finder, find: Callable[[int], list[Worker]], tmp_path: Path
) -> None:
    first, second = container(tmp_path, net=True), container(tmp_path, net=True)
    with hosted(tmp_path, prefix=first), hosted(tmp_path, prefix=second, writers=2):
        workers = find(2)
        assert list(tmp_path.iterdir()) == []
        assert {worker.path for worker in workers} == {str(tmp_path)}
        assert len({worker.identity for worker in workers}) == 2
        files = sorted((counter_files(finder, worker) for worker in workers), key=len)
        assert (len(files[0]), len(files[1])) == (1, 2)
        assert files[0] <= files[1]
        for worker in workers:
            known = PidNamespaces(finder.proc).pids(worker.identity.pid_namespace)
            assert {
                name[len("counter_") : -len(".db")] for name in counter_files(finder, worker)
            } <= known.keys()


def test_a_container_that_goes_leaves_nothing_behind(
    find: Callable[[int], list[Worker]], tmp_path: Path
) -> None:
    with hosted(tmp_path, prefix=container(tmp_path)):
        assert find(1)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a number
    assert find(0) == []
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 - a number


def test_a_directory_that_is_deleted_while_it_is_mapped_is_no_worker(
    finder: Finder, find: Callable[[int], list[Worker]], tmp_path: Path
) -> None:
    directory = tmp_path / "metrics"
    directory.mkdir()
    with hosted(directory):
        shutil.rmtree(directory)
        assert find(0) == []
        assert finder.findings.unreadable == {str(directory): "its files were deleted"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_another_users_processes_are_counted_and_no_error(tmp_path: Path) -> None:
    script = (
        "import os, sys\n"
        "from exporter.discovery.finder import Finder\n"
        "from exporter.discovery.proc import Proc\n"
        "Proc.listing = lambda self: {int(sys.argv[1]): 1}\n"
        "os.setgroups([]), os.setresgid(65534, 65534, 65534), os.setresuid(65534, 65534, 65534)\n"
        "found = Finder().look()\n"
        "print(len(found.workers), dict(found.denied))\n"
    )
    with hosted(tmp_path) as worker:
        command = [sys.executable, "-c", script, str(worker.pid)]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "0 {0: 1}\n"
