"""What is logged of a worker's files."""

import logging
from collections.abc import Sequence

import pytest

from exporter.multiproc.engine import Progress
from exporter.multiproc.faults import Fault
from exporter.multiproc.fileset import File, FileSet, Plan
from exporter.multiproc.listing import Listed
from exporter.multiproc.liveness import State
from exporter.worker.journal import Journal

EMPTY = Fault("empty", "is empty")
ODD = Fault("bad_name", "is odd")


@pytest.fixture(name="journal")
def _journal(caplog: pytest.LogCaptureFixture) -> Journal:
    caplog.set_level(logging.INFO, "exporter")
    return Journal("/d")


def files(*names: str) -> FileSet:
    return FileSet(
        "/d",
        files={
            name: File(Listed(name, 1, 1, "counter", "1"), State.LIVE, Plan.FOLLOW, None) for name in names
        },
    )


def logged(caplog: pytest.LogCaptureFixture) -> Sequence[tuple[str, dict[str, object]]]:
    told = [(record.message, vars(record)["fields"]) for record in caplog.records]
    caplog.clear()
    return told


def test_a_first_read_that_takes_its_time_is_told_and_so_is_its_end(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        journal.note_progress(Progress(1200, 7000))
    assert logged(caplog) == [
        ("first read of all files in progress", {"directory": "/d", "read": 1200, "of": 7000})
    ]
    for _ in range(2):
        journal.note_read(files("counter_1.db"), {}, {})
        journal.note_progress(None)
    assert logged(caplog) == [("first read of all files done", {"directory": "/d", "files": 1})]


def test_a_read_that_has_read_nothing_yet_is_not_told(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    journal.note_progress(Progress(0, 7000))
    journal.note_read(files("counter_1.db"), {}, {})
    assert logged(caplog) == []


def test_files_that_are_skipped_are_told_once_and_so_are_those_that_are_good_again(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    names = [f"counter_{number}.db" for number in range(1, 12)]
    for _ in range(3):
        journal.note_read(files(*names), {"odd.db": ODD}, dict.fromkeys(names[1:], EMPTY))
    some = "counter_10.db,counter_11.db,counter_2.db,counter_3.db,counter_4.db,... (6 more)"
    assert logged(caplog) == [
        ("files skipped", {"directory": "/d", "count": 11, "names": some, "empty": 10, "bad_name": 1})
    ]
    for _ in range(3):
        journal.note_read(files(*names[3:], names[1]), {"odd.db": ODD}, dict.fromkeys(names[3:], EMPTY))
    assert logged(caplog) == [
        ("files no longer skipped", {"directory": "/d", "count": 1, "names": "counter_2.db"})
    ], "counter_3.db is gone"


def test_a_quiet_one_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "exporter")
    journal = Journal("/d", quiet=True)
    journal.note_progress(Progress(1, 2))
    journal.note_read(files("counter_1.db"), {"odd.db": ODD}, {})
    assert logged(caplog) == []
