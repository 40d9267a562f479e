import os
import zlib
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.multiproc.fileset import FileSet, Liveness, Plan, State, decide, every_file, unreadable
from exporter.multiproc.listing import Listed, Listing
from exporter.multiproc.processes import Process
from tests.support.files import Processes, counter, write

DIRECTORY = (1, 1)
WRITTEN = 1000.0
"""When the files were last written."""


def listing(*names: str, identity: tuple[int, int] = DIRECTORY, renewed: Collection[str] = ()) -> Listing:
    """Return a listing of files by name; those `renewed` are others than the earlier ones of the same names."""
    files = {}
    for name in sorted(names):
        kind, _, writer = name.removesuffix(".db").rpartition("_")
        files[name] = Listed(name, 1, zlib.crc32(name.encode()) + (name in renewed), kind, writer)
    return Listing(identity, files, {})


def alive(*pids: int, started: float = 0.0, ticks: int = 1) -> Processes:
    """Return the processes of those pids as all there are."""
    return Processes({str(pid): Process(str(pid), ticks, started) for pid in pids}, WRITTEN)


def through(*steps: tuple[Listing, Processes], liveness: Liveness) -> FileSet:
    files = FileSet("/dir")
    for step in steps:
        files = decide(files, *step, liveness)
    return files


def plans(files: FileSet) -> dict[str, Plan]:
    return {name: file.plan for name, file in files.files.items()}


def states(files: FileSet) -> dict[str, State]:
    return {name: writer.state for name, writer in files.writers.items()}


FOLLOW, ONCE, LEAVE = Plan.FOLLOW, Plan.ONCE, Plan.LEAVE
KINDS = ("counter", "histogram", "summary", "gauge_all", "gauge_mostrecent", "gauge_livesum", "gauge_liveall")
LIVE_KINDS = ("gauge_livesum", "gauge_liveall")


@pytest.mark.parametrize(
    ("liveness", "living", "state", "plan", "live_gauge_plan", "up"),
    [
        (Liveness.OFF, (), State.UNKNOWN, FOLLOW, FOLLOW, None),
        (Liveness.OFF, (7,), State.UNKNOWN, FOLLOW, FOLLOW, None),
        (Liveness.ON, (7,), State.LIVE, FOLLOW, FOLLOW, True),
        (Liveness.ON, (), State.DEAD, ONCE, LEAVE, False),
        (Liveness.AUTO, (7,), State.LIVE, FOLLOW, FOLLOW, True),
        # Nobody was ever seen alive: perhaps the pids mean nothing here, so keep looking.
        (Liveness.AUTO, (), State.DEAD, FOLLOW, LEAVE, False),
    ],
)
def test_one_writer(
    liveness: Liveness,
    living: tuple[int, ...],
    state: State,
    plan: Plan,
    live_gauge_plan: Plan,
    *,
    up: bool | None,
) -> None:
    files = decide(FileSet("/dir"), listing(*(f"{kind}_7.db" for kind in KINDS)), alive(*living), liveness)
    assert states(files) == {"7": state}
    assert plans(files) == {f"{kind}_7.db": live_gauge_plan if kind in LIVE_KINDS else plan for kind in KINDS}
    assert {file.state for file in files.files.values()} == {state}
    assert files.worker_up is up


def test_one_dead_writer_of_two() -> None:
    files = decide(
        FileSet("/dir"),
        listing("counter_1.db", "counter_2.db", "gauge_livesum_1.db"),
        alive(2),
        Liveness.AUTO,
    )
    assert states(files) == {"1": State.DEAD, "2": State.LIVE}
    assert plans(files) == {"counter_1.db": ONCE, "counter_2.db": FOLLOW, "gauge_livesum_1.db": LEAVE}
    assert files.worker_up is True


def test_the_last_one_dies() -> None:
    names = listing("counter_1.db", "counter_2.db")
    files = through((names, alive(1, 2)), (names, alive()), liveness=Liveness.AUTO)
    assert states(files) == {"1": State.DEAD, "2": State.DEAD}
    assert plans(files) == {"counter_1.db": ONCE, "counter_2.db": ONCE}  # they were alive: the pids are ours
    assert files.worker_up is False


def test_nothing_new_is_the_same_object() -> None:
    names = listing("counter_1.db")
    files = decide(FileSet("/dir"), names, alive(1), Liveness.AUTO)
    assert decide(files, names, alive(1), Liveness.AUTO) is files
    assert decide(files, names, alive(), Liveness.AUTO) is not files


def test_an_empty_directory_has_no_worker_to_be_up() -> None:
    files = decide(FileSet("/dir"), listing(), alive(), Liveness.ON)
    assert (files.files, files.worker_up, files.epoch) == ({}, None, 0)


def test_a_stranger_with_a_dead_writers_pid() -> None:
    names = listing("counter_1.db", "counter_2.db")
    files = through(
        (names, alive(1, 2)),
        (names, alive(1)),
        (names, Processes({**alive(1).living, "2": Process("2", 99, WRITTEN + 60)}, WRITTEN)),
        liveness=Liveness.AUTO,
    )
    assert states(files) == {"1": State.LIVE, "2": State.DEAD}
    assert plans(files)["counter_2.db"] is FOLLOW  # it may be a new writer that has not written yet


def test_a_new_writer_with_a_dead_ones_pid_shows_itself_by_writing() -> None:
    names = listing("counter_1.db")
    stranger = alive(1, started=WRITTEN + 60, ticks=99)
    files = through((names, alive(1)), (names, stranger), liveness=Liveness.AUTO)
    assert states(files) == {"1": State.DEAD}
    files = decide(files, names, stranger, Liveness.AUTO, moved={"1"})
    assert states(files) == {"1": State.LIVE}
    assert decide(files, names, stranger, Liveness.AUTO) is files  # it is known from now on
    assert not files.foreign


def test_a_process_that_started_before_its_files_wrote_them() -> None:
    for started, state in ((WRITTEN - 100, State.LIVE), (WRITTEN + 1, State.LIVE), (WRITTEN + 3, State.DEAD)):
        files = decide(FileSet("/dir"), listing("counter_1.db"), alive(1, started=started), Liveness.ON)
        assert states(files) == {"1": state}


def test_movement_without_a_living_writer_tells_a_foreign_namespace() -> None:
    names = listing("counter_1.db", "gauge_livesum_1.db", "counter_2.db")
    files = decide(FileSet("/dir"), names, alive(), Liveness.AUTO)
    assert (files.foreign, files.worker_up) == (False, False)
    files = decide(files, names, alive(), Liveness.AUTO, moved={"1"})
    assert files.foreign
    assert states(files) == {"1": State.UNKNOWN, "2": State.UNKNOWN}
    assert set(plans(files).values()) == {FOLLOW}
    assert files.worker_up is None
    assert decide(files, names, alive(1), Liveness.AUTO) is files  # and it stays so


def test_movement_tells_nothing_where_liveness_is_given() -> None:
    names = listing("counter_1.db")
    files = through((names, alive()), liveness=Liveness.ON)
    files = decide(files, names, alive(), Liveness.ON, moved={"1"})
    assert not files.foreign
    assert states(files) == {"1": State.DEAD}


def test_movement_tells_nothing_where_a_writer_was_seen_alive() -> None:
    names = listing("counter_1.db", "counter_2.db")
    files = through((names, alive(2)), (names, alive()), liveness=Liveness.AUTO)
    files = decide(files, names, alive(), Liveness.AUTO, moved={"1"})
    assert not files.foreign


def test_some_files_go() -> None:
    files = through(
        (listing("counter_1.db", "counter_2.db"), alive(2)),
        (listing("counter_2.db"), alive(2)),
        liveness=Liveness.ON,
    )
    assert files.epoch == 0
    assert files.removed == 1
    assert list(plans(files)) == ["counter_2.db"]
    assert list(states(files)) == ["2"]
    files = decide(
        files, listing("counter_1.db", "counter_2.db", renewed=["counter_1.db"]), alive(2), Liveness.ON
    )
    assert files.removed == 1
    assert files.epoch == 0


@pytest.mark.parametrize(
    ("later", "epoch"),
    [
        pytest.param(listing(), 1, id="emptied"),
        pytest.param(
            listing("counter_1.db", "counter_2.db", renewed=["counter_1.db", "counter_2.db"]),
            1,
            id="same names, other files",
        ),
        pytest.param(listing("counter_3.db"), 1, id="others"),
        pytest.param(listing("counter_1.db", "counter_2.db", identity=(1, 2)), 1, id="another directory"),
        pytest.param(listing("counter_1.db", "counter_2.db", "counter_3.db"), 0, id="one more"),
        pytest.param(listing("counter_1.db"), 0, id="one less"),
    ],
)
def test_another_worker(later: Listing, epoch: int) -> None:
    first = listing("counter_1.db", "counter_2.db")
    files = through((first, alive(1, 2)), (later, alive(1, 2)), liveness=Liveness.AUTO)
    assert files.epoch == epoch
    if epoch:
        assert files.removed == 0


def test_another_workers_processes_are_not_the_former_ones() -> None:
    first, later = listing("counter_1.db"), listing("counter_1.db", renewed=["counter_1.db"])
    stranger = alive(1, started=WRITTEN - 5, ticks=99)
    files = through((first, alive(1)), (later, stranger), liveness=Liveness.AUTO)
    assert files.writers["1"].process == stranger.find_process("1")


def test_the_first_files_are_no_other_worker() -> None:
    files = through((listing(), alive()), (listing("counter_1.db"), alive(1)), liveness=Liveness.AUTO)
    assert files.epoch == 0


def test_unreadable_directory() -> None:
    assert unreadable(FileSet("/dir"), "/dir: gone") == FileSet("/dir", problem="/dir: gone")
    before = decide(FileSet("/dir"), listing("counter_1.db"), alive(1), Liveness.AUTO)
    gone = unreadable(before, "/dir: gone")
    assert (gone.epoch, gone.files, gone.problem, gone.worker_up) == (1, {}, "/dir: gone", None)
    assert unreadable(gone, "/dir: gone") is gone
    assert unreadable(gone, "/dir: denied").epoch == 1
    back = decide(gone, listing("counter_1.db"), alive(1), Liveness.AUTO)
    assert (back.epoch, back.problem) == (1, "")


# --- writers that are no pids, processes that may not be looked into, files that nobody has set up


def test_a_writer_named_by_any_text_is_unknown_and_only_that_one() -> None:
    files = decide(FileSet("/dir"), listing("counter_1.db", "counter_some name.db"), alive(1), Liveness.ON)
    assert states(files) == {"1": State.LIVE, "some name": State.UNKNOWN}
    assert plans(files) == {"counter_1.db": FOLLOW, "counter_some name.db": FOLLOW}
    assert files.worker_up is True
    files = decide(files, listing("counter_1.db", "counter_some name.db"), alive(), Liveness.ON)
    assert states(files) == {"1": State.DEAD, "some name": State.UNKNOWN}
    assert files.worker_up is None
    assert files.processes == {"dead": 1, "unknown": 1}


def test_a_process_that_may_not_be_looked_into_is_not_dead() -> None:
    class Hidden(Processes):
        def find_process(self, pid: str) -> Process | None:
            if pid == "2":
                raise PermissionError
            return super().find_process(pid)

    names = listing("counter_1.db", "counter_2.db")
    files = decide(FileSet("/dir"), names, Hidden(alive(1).living, WRITTEN), Liveness.ON)
    assert states(files) == {"1": State.LIVE, "2": State.UNKNOWN}
    assert states(decide(files, names, alive(1), Liveness.ON)) == {"1": State.LIVE, "2": State.DEAD}


def test_a_file_that_nobody_has_set_up_makes_no_process_a_writer() -> None:
    class NotSetUp(Processes):
        set_up: Collection[str] = ()

        def is_set_up(self, name: str) -> bool:
            return name in self.set_up

    evidence = NotSetUp(alive(1, 2).living, WRITTEN)
    evidence.set_up = ["counter_1.db"]
    names = listing("counter_1.db", "counter_2.db")
    files = decide(FileSet("/dir"), names, evidence, Liveness.ON)
    assert states(files) == {"1": State.LIVE}
    assert (files.files["counter_2.db"].state, files.files["counter_2.db"].plan) == (State.UNKNOWN, FOLLOW)
    assert decide(files, names, evidence, Liveness.ON) is files
    evidence.set_up = ["counter_1.db", "counter_2.db"]
    files = decide(files, names, evidence, Liveness.ON)
    assert states(files) == {"1": State.LIVE, "2": State.LIVE}
    evidence.set_up = ()
    assert decide(files, names, evidence, Liveness.ON) is files, "who has written is known"


def test_an_empty_file_of_nobody_is_a_dead_writers() -> None:
    files = decide(FileSet("/dir"), listing("counter_1.db", "counter_77.db"), alive(1), Liveness.ON)
    assert states(files) == {"1": State.LIVE, "77": State.DEAD}


# --- what a look costs


class Asked(Processes):
    """Notes what it is asked for."""

    def __init__(self, living: Mapping[str, Process]) -> None:
        super().__init__(living, WRITTEN)
        self.looked_up: list[str] = []
        self.files: list[str] = []

    def find_process(self, pid: str) -> Process | None:
        self.looked_up.append(pid)
        return super().find_process(pid)

    def last_write(self, name: str) -> float:
        self.files.append(name)
        return super().last_write(name)


def test_the_dead_are_looked_up_once_and_when_their_pid_exists_again() -> None:
    evidence = Asked(alive(1, 2).living)
    names = listing(*(f"counter_{pid}.db" for pid in range(1, 1001)))
    files = decide(FileSet("/dir"), names, evidence, Liveness.ON)
    assert len(evidence.looked_up) == 1000
    evidence.looked_up.clear()
    assert decide(files, names, evidence, Liveness.ON) is files
    assert sorted(evidence.looked_up) == ["1", "2"]
    evidence.looked_up.clear()
    evidence.living = alive(1, 2, 500).living
    evidence.files.clear()
    files = decide(files, names, evidence, Liveness.ON)
    assert sorted(evidence.looked_up) == ["1", "2", "500"]
    assert evidence.files == ["counter_500.db"]
    assert files.writers["500"].state is State.LIVE


def test_what_is_decided_for_a_file_is_kept_while_nothing_concerns_it() -> None:
    names = listing("counter_1.db", "counter_2.db")
    before = decide(FileSet("/dir"), names, alive(1, 2), Liveness.ON)
    names = replace(names, files={**names.files, **listing("counter_3.db").files})
    after = decide(before, names, alive(1), Liveness.ON)
    assert after.files["counter_1.db"] is before.files["counter_1.db"]
    assert after.files["counter_2.db"] is not before.files["counter_2.db"]


def test_every_file_counts_whoever_lives(tmp_path: Path) -> None:
    write(tmp_path / f"counter_{os.getpid()}.db", {counter("a"): 1.0})
    write(tmp_path / "gauge_livesum_999999999.db", {counter("a"): 1.0})
    files = every_file(FileSet(str(tmp_path)))
    assert set(plans(files).values()) == {FOLLOW}
    assert set(states(files).values()) == {State.UNKNOWN}
