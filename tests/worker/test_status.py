"""The facts, and their form for programs."""

import json
from dataclasses import replace

from exporter.worker.status import (
    FILE_STATES,
    PROCESS_STATES,
    AlsoStatus,
    FileStatus,
    ProcessStatus,
    Status,
    WorkerStatus,
    common_problem,
    how_far,
)

BARE = WorkerStatus(directory="/d", problem="", worker_up=None)
OF_ONE = Status(version="1", collector="incremental", started=1.0, workers=(BARE,))


def test_ready_is_without_a_problem() -> None:
    assert BARE.ready
    assert not replace(BARE, problem="no file").ready


def test_of_several_workers_one_that_can_be_served_is_enough() -> None:
    bad, other = replace(BARE, problem="/d: no file"), replace(BARE, problem="/e: gone")
    assert common_problem([bad, BARE]) == ""
    assert common_problem([bad]) == "/d: no file"
    assert common_problem([bad, other]) == "/d: no file; 1 more worker cannot be served either"
    assert common_problem([bad, other, other]) == "/d: no file; 2 more workers cannot be served either"
    assert common_problem([]) == "no worker yet"


def test_json_holds_every_fact() -> None:
    worker = WorkerStatus(
        labels={"worker_addr": "w"},
        directory="/d",
        problem="",
        worker_up=True,
        processes=(ProcessStatus("7", "live"),),
        files=(FileStatus("counter_7.db", "skipped", "is empty"),),
        process_counts={"live": 1},
        file_counts={"skipped": 1, "removed": 2},
        series=3,
        last_update=2.0,
        file_errors={"empty": 1},
    )
    status = Status(
        "1",
        "stock",
        1.5,
        (worker,),
        last_scrape=2.5,
        scrape_durations={"read": 0.25},
        also=(AlsoStatus("http://h:1/metrics", up=True, samples=9, left_out={"stray_line": 1}),),
    )
    assert json.loads(json.dumps(status.as_json())) == {
        "also": [
            {
                "url": "http://h:1/metrics",
                "up": True,
                "problem": "",
                "samples": 9,
                "left_out": {"stray_line": 1},
            }
        ],
        "ready": True,
        "version": "1",
        "worker_addr": "w",
        "labels": {"worker_addr": "w"},
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


def test_json_of_several_workers_has_each_in_a_list() -> None:
    other = replace(BARE, problem="no file", labels={"worker_addr": "w", "rank": "1"}, left_out={"late": 2})
    facts = json.loads(json.dumps(replace(OF_ONE, workers=(BARE, other)).as_json()))
    assert (facts["ready"], facts["version"]) == (True, "1")
    assert [(one["ready"], one["worker_addr"], one["directory"]) for one in facts["workers"]] == [
        (True, "", "/d"),
        (False, "w", "/d"),
    ]
    assert facts["workers"][1]["labels"] == {"worker_addr": "w", "rank": "1"}
    assert facts["workers"][1]["left_out"] == {"late": 2}


def test_what_is_unknown_is_null() -> None:
    facts = json.loads(json.dumps(OF_ONE.as_json()))
    assert (facts["worker_up"], facts["last_scrape"], facts["last_update"]) == (None, None, None)
    assert (facts["processes"], facts["files"], facts["file_errors"]) == ([], [], {})


def test_states_of_files_are_those_of_their_writers_and_two_more() -> None:
    assert PROCESS_STATES == ("live", "dead", "unknown")
    assert FILE_STATES == ("live", "dead", "unknown", "removed", "skipped")


def test_how_far_a_first_read_is() -> None:
    assert how_far(3461, 6000) == "read 3,461 of 6,000 files so far"
    assert how_far(6000, 6000) == "merging the 6,000 files read"
