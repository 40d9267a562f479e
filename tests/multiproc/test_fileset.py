import os
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.multiproc.fileset import FileSet, Plan, decide, every_file, unreadable
from exporter.multiproc.listing import Listing
from exporter.multiproc.liveness import Liveness, State
from tests.multiproc.filesets import (
    FOLLOW,
    LEAVE,
    ONCE,
    WRITTEN,
    alive,
    listing,
    plans,
    states,
    through,
)
from tests.support.files import counter, write

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


# --- what a look costs


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
