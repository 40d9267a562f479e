import os
import socket
import zlib
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

import pytest

from exporter.multiproc.fileset import (
    FileSet,
    Listed,
    Listing,
    Liveness,
    Plan,
    State,
    decide,
    every_file,
    list_directory,
    unreadable,
)
from exporter.multiproc.processes import Process
from tests.support.files import counter, write

DIRECTORY = (1, 1)
WRITTEN = 1000.0
"""When the files were last written."""


def listing(*names: str, identity: tuple[int, int] = DIRECTORY, renewed: Collection[str] = ()) -> Listing:
    """Return a listing of files by name; those `renewed` are others than the earlier ones of the same names."""
    files = []
    for name in sorted(names):
        kind, _, pid = name.removesuffix(".db").rpartition("_")
        files.append(Listed(name, (1, zlib.crc32(name.encode()) + (name in renewed)), kind, pid))
    return Listing(identity, tuple(files), {}, {file.pid: WRITTEN for file in files})


def alive(*pids: int, started: float = 0.0, ticks: int = 1) -> Callable[[str], Process | None]:
    """Return a process finder that knows those pids."""
    return lambda pid: Process(pid, ticks, started) if int(pid) in pids else None


def through(*steps: tuple[Listing, Callable[[str], Process | None]], liveness: Liveness) -> FileSet:
    files = FileSet("/dir")
    for step in steps:
        files = decide(files, *step, liveness)
    return files


def plans(files: FileSet) -> dict[str, Plan]:
    return {file.name: file.plan for file in files.files}


def states(files: FileSet) -> dict[str, State]:
    return {pid: writer.state for pid, writer in files.writers.items()}


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
    assert {file.state for file in files.files} == {state}
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
    assert (files.files, files.worker_up, files.epoch) == ((), None, 0)


def test_a_stranger_with_a_dead_writers_pid() -> None:
    names = listing("counter_1.db", "counter_2.db")
    files = through(
        (names, alive(1, 2)),
        (names, alive(1)),
        (names, lambda pid: Process(pid, 99, WRITTEN + 60) if pid == "2" else alive(1)(pid)),
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
    assert files.removed == {"counter_1.db"}
    assert list(plans(files)) == ["counter_2.db"]
    assert list(states(files)) == ["2"]
    files = decide(
        files, listing("counter_1.db", "counter_2.db", renewed=["counter_1.db"]), alive(2), Liveness.ON
    )
    assert files.removed == frozenset()
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
        assert files.removed == frozenset()


def test_another_workers_processes_are_not_the_former_ones() -> None:
    first, later = listing("counter_1.db"), listing("counter_1.db", renewed=["counter_1.db"])
    stranger = alive(1, started=WRITTEN - 5, ticks=99)
    files = through((first, alive(1)), (later, stranger), liveness=Liveness.AUTO)
    assert files.writers["1"].process == stranger("1")


def test_the_first_files_are_no_other_worker() -> None:
    files = through((listing(), alive()), (listing("counter_1.db"), alive(1)), liveness=Liveness.AUTO)
    assert files.epoch == 0


def test_unreadable_directory() -> None:
    assert unreadable(FileSet("/dir"), "/dir: gone") == FileSet("/dir", problem="/dir: gone")
    before = decide(FileSet("/dir"), listing("counter_1.db"), alive(1), Liveness.AUTO)
    gone = unreadable(before, "/dir: gone")
    assert (gone.epoch, gone.files, gone.problem, gone.worker_up) == (1, (), "/dir: gone", None)
    assert unreadable(gone, "/dir: gone") is gone
    assert unreadable(gone, "/dir: denied").epoch == 1
    back = decide(gone, listing("counter_1.db"), alive(1), Liveness.AUTO)
    assert (back.epoch, back.problem) == (1, "")


def names(found: Iterable[Listed]) -> list[str]:
    return [file.name for file in found]


def test_list_directory(tmp_path: Path) -> None:
    good = [
        "counter_1.db",
        "counter_22.db",
        "gauge_all_1.db",
        "gauge_livemostrecent_1.db",
        "histogram_1.db",
        "summary_1.db",
    ]
    for name in reversed(good):
        write(tmp_path / name, {counter("a"): 1.0})
    os.utime(tmp_path / "gauge_all_1.db", (2e9, 2e9))
    found = list_directory(str(tmp_path))
    assert names(found.files) == good
    assert [(file.kind, file.pid) for file in found.files][:3] == [
        ("counter", "1"),
        ("counter", "22"),
        ("gauge_all", "1"),
    ]
    assert found.files[0].identity == (
        (tmp_path / "counter_1.db").stat().st_dev,
        (tmp_path / "counter_1.db").stat().st_ino,
    )
    assert found.identity == (tmp_path.stat().st_dev, tmp_path.stat().st_ino)
    assert found.written["1"] == 2e9
    assert not found.skipped


@pytest.mark.parametrize(
    "name",
    [
        "x.db",
        "gauge_x.db",
        "gauge_1.db",
        "gauge_nomode_1.db",
        "counter_.db",
        "counter_0.db",
        "counter_-1.db",
        "counter_1x.db",
        "counter_1_2.db",
        "Counter_1.db",
        "info_1.db",
        "counter.db",
        "counter_1.db.db",
        "counter_\u0661.db",
        "counter_1\n.db",
    ],
)
def test_odd_names_are_skipped_with_a_reason(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    write(tmp_path / "counter_1.db", {counter("a"): 1.0})
    found = list_directory(str(tmp_path))
    assert names(found.files) == ["counter_1.db"]
    assert found.skipped[name][0] == "bad_name"


@pytest.mark.parametrize("name", ["counter_1.txt", "counter_1.db.tmp", ".db", ".counter_1.db", "db"])
def test_other_files_are_none_of_ours(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    found = list_directory(str(tmp_path))
    assert not found.files
    assert not found.skipped


def test_no_regular_files_are_skipped_with_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("counter_1.db")
    Path("counter_2.db").mkdir()
    Path("counter_3.db").symlink_to(write(tmp_path / "target", {counter("a"): 1.0}))
    Path("counter_4.db").symlink_to("nowhere")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("counter_5.db")
    found = list_directory(".")
    assert not found.files
    assert {name: reason for name, (reason, _) in found.skipped.items()} == {
        f"counter_{number}.db": "not_regular" for number in range(1, 6)
    }


def test_a_file_that_goes_while_the_directory_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "counter_1.db", {counter("a"): 1.0})

    class Gone:
        name = "counter_2.db"

        @staticmethod
        def stat(*, follow_symlinks: bool) -> os.stat_result:
            raise FileNotFoundError(follow_symlinks)

    class Scan:
        def __init__(self, path: str) -> None:
            self.entries = [Gone(), *original(path)]

        def __enter__(self) -> list[object]:
            return self.entries

        def __exit__(self, *_: object) -> None:
            pass

    original = os.scandir
    monkeypatch.setattr(os, "scandir", Scan)
    assert names(list_directory(str(tmp_path)).files) == ["counter_1.db"]


def test_a_directory_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list_directory(str(tmp_path / "nowhere"))
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        list_directory(str(tmp_path / "file"))


def test_same_files_looks_past_mtimes(tmp_path: Path) -> None:
    file = write(tmp_path / "counter_1.db", {counter("a"): 1.0})
    before = list_directory(str(tmp_path))
    os.utime(file, (2e9, 2e9))
    assert list_directory(str(tmp_path)).same_files(before)
    write(tmp_path / "counter_2.db", {counter("a"): 1.0})
    assert not list_directory(str(tmp_path)).same_files(before)


def test_every_file_counts_whoever_lives(tmp_path: Path) -> None:
    write(tmp_path / f"counter_{os.getpid()}.db", {counter("a"): 1.0})
    write(tmp_path / "gauge_livesum_999999999.db", {counter("a"): 1.0})
    files = every_file(FileSet(str(tmp_path)))
    assert set(plans(files).values()) == {FOLLOW}
    assert set(states(files).values()) == {State.UNKNOWN}
