"""The facts, and their form for programs."""

import json
from dataclasses import replace

from exporter.worker.status import FILE_STATES, PROCESS_STATES, FileStatus, ProcessStatus, Status

BARE = Status(
    version="1",
    worker_addr="w",
    collector="incremental",
    directory="/d",
    problem="",
    worker_up=None,
    started=1.0,
)


def test_ready_is_without_a_problem() -> None:
    assert BARE.ready
    assert not replace(BARE, problem="no file").ready


def test_json_holds_every_fact() -> None:
    status = Status(
        version="1",
        worker_addr="w",
        collector="stock",
        directory="/d",
        problem="",
        worker_up=True,
        started=1.5,
        processes=(ProcessStatus("7", "live"),),
        files=(FileStatus("counter_7.db", "skipped", "is empty"),),
        process_counts={"live": 1},
        file_counts={"skipped": 1, "removed": 2},
        series=3,
        last_scrape=2.5,
        scrape_durations={"read": 0.25},
        last_update=2.0,
        file_errors={"empty": 1},
    )
    assert json.loads(json.dumps(status.as_json())) == {
        "ready": True,
        "version": "1",
        "worker_addr": "w",
        "collector": "stock",
        "directory": "/d",
        "directory_readable": True,
        "problem": "",
        "worker_up": True,
        "started": 1.5,
        "processes": [{"pid": "7", "state": "live"}],
        "files": [{"name": "counter_7.db", "state": "skipped", "reason": "is empty"}],
        "process_counts": {"live": 1},
        "file_counts": {"skipped": 1, "removed": 2},
        "series": 3,
        "last_scrape": 2.5,
        "scrape_durations": {"read": 0.25},
        "last_update": 2.0,
        "file_errors": {"empty": 1},
    }


def test_what_is_unknown_is_null() -> None:
    facts = json.loads(json.dumps(BARE.as_json()))
    assert (facts["worker_up"], facts["last_scrape"], facts["last_update"]) == (None, None, None)
    assert (facts["processes"], facts["files"], facts["file_errors"]) == ([], [], {})


def test_states_of_files_are_those_of_their_writers_and_two_more() -> None:
    assert PROCESS_STATES == ("live", "dead", "unknown")
    assert FILE_STATES == ("live", "dead", "unknown", "removed", "skipped")
