"""Which writers live, seen in the file sets that come of it."""

from collections.abc import Collection, Mapping

from exporter.multiproc.fileset import FileSet, decide
from exporter.multiproc.liveness import Liveness, State
from exporter.multiproc.processes import Process
from tests.multiproc.filesets import (
    FOLLOW,
    WRITTEN,
    alive,
    listing,
    plans,
    states,
    through,
)
from tests.support.files import Processes


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
