"""A worker with its parts, in this process: what the status says of a directory, and what is served of it."""

import os
import shutil
import time
from collections import Counter
from pathlib import Path

import pytest

from exporter.multiproc.engine import Engine, Progress
from exporter.worker.status import FileStatus, ProcessStatus
from exporter.worker.worker import Worker
from tests.support import files
from tests.worker.assembled import Assemble, errors

# --- What stands in the way ---


def test_nothing_is_known_before_the_first_look(assemble: Assemble, directory: Path) -> None:
    it = assemble()
    assert it.status().problem == f"{directory}: not listed yet"
    assert not it.status().ready
    assert it.scrape().value("smg_exporter_up") == 1, "a scrape looks by itself"


def test_a_missing_directory(assemble: Assemble, directory: Path) -> None:
    directory.rmdir()
    it = assemble()
    own = it.look_and_scrape()
    assert it.status().problem == f"{directory}: No such file or directory"
    assert not it.status().directory_readable
    assert own.value("smg_exporter_up") == 0


def test_an_empty_directory(assemble: Assemble, directory: Path) -> None:
    it = assemble()
    own = it.look_and_scrape()
    assert it.status().problem == (
        f"{directory}: no .db file yet; is the worker running, with PROMETHEUS_MULTIPROC_DIR set to it?"
    )
    assert it.status().directory_readable
    assert own.value("smg_exporter_up") == 1


def test_only_bad_files(assemble: Assemble, directory: Path) -> None:
    (directory / "counter_1.db").touch()
    (directory / "other.db").touch()
    (directory / "gauge_all_1.db").mkdir()
    it = assemble()
    it.look_and_scrape()
    assert it.status().problem == f"{directory}: none of its 3 .db files can be read"
    assert [(file.name, file.state) for file in it.status().files] == [
        ("counter_1.db", "skipped"),
        ("gauge_all_1.db", "skipped"),
        ("other.db", "skipped"),
    ]
    assert all(file.reason for file in it.status().files)


def test_one_good_file_is_enough(assemble: Assemble, directory: Path) -> None:
    (directory / "counter_1.db").touch()
    files.write(directory / "counter_2.db", {files.counter("x"): 1})
    it = assemble()
    own = it.look_and_scrape()
    assert it.status().ready
    assert errors(it) == {"empty": 1}
    assert own.value("smg_exporter_file_errors_total", reason="empty") == 1
    assert own.value("smg_exporter_files", state="skipped") == 1
    assert own.value("smg_exporter_files", state="unknown") == 1


def test_a_bad_sample_costs_itself_and_is_told(assemble: Assemble, directory: Path) -> None:
    files.write(directory / "counter_1.db", {"[]": 1, files.counter("x"): 1})
    it = assemble()
    assert it.look_and_scrape().value("x_total") == 1
    (file,) = it.status().files
    assert (file.state, it.status().ready) == ("unknown", True)
    assert file.reason.startswith("1 of its samples left out: ")
    assert errors(it) == {"bad_key": 1}


# --- What is there ---


def test_files_and_processes(assemble: Assemble, directory: Path) -> None:
    dead = "999999999"  # beyond any pid_max
    alive = str(os.getpid())
    for pid in (alive, dead):
        files.write(directory / f"counter_{pid}.db", {files.counter("x"): 1})
    it = assemble(liveness="on")
    it.look_and_scrape()
    assert set(it.status().processes) == {ProcessStatus(alive, "live"), ProcessStatus(dead, "dead")}
    assert set(it.status().files) == {
        FileStatus(f"counter_{alive}.db", "live"),
        FileStatus(f"counter_{dead}.db", "dead"),
    }
    assert it.status().worker_up is True
    (directory / f"counter_{dead}.db").unlink()
    own = it.look_and_scrape()
    assert it.status().file_counts["removed"] == 1
    assert own.value("smg_exporter_files", state="removed") == 1
    assert own.value("smg_exporter_processes", state="live") == 1
    assert own.value("x_total") == 2, "what went stays in the sum"


def test_the_series_are_counted_as_they_are_served(assemble: Assemble, directory: Path) -> None:
    files.write(directory / "counter_1.db", {files.counter("x"): 1, files.counter("y"): 1})
    files.write(directory / "histogram_1.db", {files.bucket("h", "1.0"): 1, files.total("h"): 0.5})
    it = assemble()
    worker = [
        sample for sample in it.look_and_scrape().samples if not sample.name.startswith(("smg", "proc"))
    ]
    assert it.status().series == len(worker) == 6
    assert it.scrape().value("smg_exporter_series") == 6


def test_files_are_counted_once_while_nothing_changes(assemble: Assemble, directory: Path) -> None:
    files.write(directory / "counter_1.db", {files.counter("x"): 1})
    it = assemble()
    it.look_and_scrape()
    before = it.worker.summary().file_counts
    it.look_and_scrape()
    assert it.worker.summary().file_counts is before
    files.write(directory / "counter_2.db", {files.counter("x"): 1})
    it.look()
    assert it.worker.summary().file_counts == {"unknown": 2, "removed": 0, "skipped": 0}


def test_a_summary_says_what_the_status_says(assemble: Assemble, directory: Path) -> None:
    files.write(directory / f"counter_{os.getpid()}.db", {files.counter("x"): 1})
    files.write(directory / "counter_999999999.db", {files.counter("x"): 1})
    (directory / "counter_3.db").write_bytes(b"abc")
    (directory / "odd.db").touch()
    it = assemble(liveness="on")
    it.look_and_scrape()
    status = it.status()
    assert vars(it.worker.summary()).items() <= vars(status).items()
    assert Counter(one.state for one in status.processes) == status.process_counts
    assert Counter(one.state for one in status.files) == {
        state: count for state, count in status.file_counts.items() if count
    }


def test_the_first_read_is_waited_for(assemble: Assemble, directory: Path) -> None:
    for pid in range(1, 4):
        files.write(directory / f"counter_{pid}.db", {files.counter("x"): 1})
    it = assemble()
    it.look()
    assert it.status().problem == f"{directory}: read 0 of 3 files so far"
    assert not it.status().ready
    it.scrape()
    assert it.status().ready


def test_a_first_read_that_makes_progress_is_not_stuck(
    assemble: Assemble, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = assemble().worker
    now = time.monotonic()
    monkeypatch.setattr(Worker, "busy_since", now)
    stuck = []
    for seconds, read in ((0, 10), (50, 20), (100, 30), (150, 30), (170, 30)):
        monkeypatch.setattr(time, "monotonic", lambda: now + seconds)  # noqa: B023 - it is asked at once
        monkeypatch.setattr(Engine, "progress", Progress(read, 99))
        stuck.append(worker.stuck(60))
    assert stuck == ["", "", "", "", f"reading the files of {directory}"]


# --- Its history ---


def test_the_last_update_is_the_newest_stamp_or_observed_change(assemble: Assemble, directory: Path) -> None:
    it = assemble()
    it.look_and_scrape()
    assert it.status().last_update is None
    files.write(directory / "gauge_mostrecent_1.db", {files.gauge("g"): (1, 1_000_000_000.0)})
    it.look_and_scrape()
    assert it.status().last_update == 1_000_000_000.0
    files.write(directory / "counter_1.db", {files.counter("x"): 1})
    it.look_and_scrape()
    start = time.time()
    files.write(directory / "counter_1.db", {files.counter("x"): 2})
    it.scrape()
    last_update = it.status().last_update
    assert last_update is not None
    assert last_update >= start


def test_a_scrape_is_remembered(assemble: Assemble) -> None:
    it = assemble()
    assert it.parts.status().last_scrape is None
    start = time.time()
    it.look_and_scrape()
    last_scrape = it.parts.status().last_scrape
    assert last_scrape is not None
    assert last_scrape >= start
    assert list(it.parts.status().scrape_durations) == ["read", "merge", "render", "compress"]


def test_another_worker_starts_anew(assemble: Assemble, directory: Path) -> None:
    files.write(directory / "counter_1.db", {files.counter("x"): 100})
    it = assemble()
    assert it.look_and_scrape().value("x_total") == 100
    shutil.rmtree(directory)
    assert "x_total" not in it.look_and_scrape().names
    directory.mkdir()
    files.write(directory / "counter_1.db", {files.counter("x"): 1})
    assert it.look_and_scrape().value("x_total") == 1


def test_own_metrics_tell_of_the_files_that_are_served(assemble: Assemble, directory: Path) -> None:
    files.write(directory / "counter_1.db", {files.counter("x"): 1})
    it = assemble()
    it.look_and_scrape()
    files.write(directory / "counter_2.db", {files.counter("x"): 1})
    it.worker.engine.update()
    (directory / "counter_3.db").write_bytes(b"abc")
    it.look()
    told = {one.family.name: sum(one.values[0]) for one in it.worker.tell()}
    assert told["smg_exporter_processes"] == 1, "a look after the read is not told of"
    it.scrape()
    told = {one.family.name: sum(one.values[0]) for one in it.worker.tell()}
    assert told["smg_exporter_processes"] > 1
