import itertools
from pathlib import Path

import pytest

from exporter.multiproc import refusals
from exporter.multiproc.faults import Fault
from exporter.multiproc.fileset import File, Plan
from exporter.multiproc.listing import Listed
from exporter.multiproc.liveness import State
from exporter.multiproc.refusals import Refusals

EMPTY, SHORT = Fault("empty", "is empty"), Fault("truncated", "is short")


class Waiting:
    """Refused files, and a clock that a test sets."""

    def __init__(self, directory: Path) -> None:
        self.now = 0.0
        self.directory = directory
        self.refusals = Refusals(str(directory), lambda: self.now)

    def file(self, name: str) -> File:
        path = self.directory / name
        path.write_bytes(b"x")
        info = path.stat()
        return File(Listed(name, info.st_dev, info.st_ino, "counter", "1"), State.LIVE, Plan.FOLLOW, None)

    def due(self) -> list[str]:
        """Return the files that are to be read now; they are refused again."""
        names = []
        for file, seen in self.refusals.due():
            names.append(file.name)
            self.refusals.refuse(file, EMPTY, seen)
        return names


@pytest.fixture(name="waiting")
def _waiting(tmp_path: Path) -> Waiting:
    return Waiting(tmp_path)


def test_a_refused_file_is_told_until_it_is_accepted(waiting: Waiting) -> None:
    file = waiting.file("a")
    assert waiting.refusals.refuse(file, EMPTY)
    assert not waiting.refusals.refuse(file, EMPTY), "nothing new"
    assert waiting.refusals.refuse(file, SHORT)
    assert waiting.refusals.faults == {"a": SHORT}
    waiting.refusals.accept("a")
    assert waiting.refusals.faults == {}
    waiting.now = 10.0
    assert waiting.due() == []
    waiting.refusals.accept("a")


def test_it_is_looked_at_again_soon_and_then_every_few_seconds(waiting: Waiting) -> None:
    waiting.refusals.refuse(waiting.file("a"), EMPTY)
    looks = []
    for tenth in range(600):
        waiting.now = tenth / 10
        looks += [waiting.now for _ in waiting.due()]
    assert looks[0] <= 0.2
    assert len([look for look in looks if look <= 5.0]) >= 5
    waits = [later - look for look, later in itertools.pairwise(looks)]
    assert max(waits) < 5.0
    assert len(looks) < 25


def test_it_is_read_again_only_where_a_look_tells_no_lack_of_change(
    waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = waiting.file("a")
    waiting.refusals.refuse(file, EMPTY)
    monkeypatch.setattr(refusals, "fingerprint", lambda *args: ("looks like", args))
    for seconds, expected in ((10, ["a"]), (20, []), (30, [])):
        waiting.now = seconds
        assert waiting.due() == expected
    monkeypatch.setattr(refusals, "fingerprint", lambda *_: None)
    waiting.now = 40
    assert waiting.due() == ["a"], "where nothing tells, only reading does"


def test_a_file_that_went_waits_for_the_next_file_set(waiting: Waiting) -> None:
    waiting.refusals.refuse(waiting.file("a"), EMPTY)
    (waiting.directory / "a").unlink()
    waiting.now = 10
    waiting.due()
    waiting.file("a")
    assert waiting.refusals.faults == {"a": EMPTY}


def test_one_that_could_not_be_read_at_all_is_looked_at_later(waiting: Waiting) -> None:
    waiting.refusals.refuse(waiting.file("a"), EMPTY)
    for seconds in (10, 20, 30):
        waiting.now = seconds
        assert [file.name for file, _ in waiting.refusals.due()] == ["a"]


def test_the_looks_of_one_update_take_a_bounded_time(
    waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(50):
        waiting.refusals.refuse(waiting.file(str(number)), EMPTY)
    spent = iter(range(10_000))
    monkeypatch.setattr("time.perf_counter", lambda: next(spent) * refusals.SPAN / 10.5)
    waiting.now = 10
    seen: list[str] = []
    for _ in range(5):
        assert waiting.refusals.overdue
        names = waiting.due()
        assert len(names) == 10
        seen += names
    assert sorted(seen) == sorted(map(str, range(50))), "each gets its turn"
    assert not waiting.refusals.overdue


def test_files_that_are_refused_no_longer_are_forgotten(waiting: Waiting) -> None:
    for number in range(1000):
        waiting.refusals.refuse(waiting.file("a"), EMPTY)
        waiting.refusals.accept("a")
        waiting.now = 10.0 * number
        waiting.due()
    assert len(waiting.refusals._queue) < 5
