"""The options, as the parts that are made from them obey."""

import os
from pathlib import Path

import pytest

from exporter.errors import ScrapeError
from tests.support import files
from tests.worker.assembled import Assemble, Assembled, errors


def test_labels(assemble: Assemble, directory: Path) -> None:
    files.write(directory / "counter_1.db", {files.counter("x", zone="own"): 1})
    it = assemble(label=["zone=a", "rack=7"]).look_and_scrape()
    assert it.labels("x_total") == [
        {"worker_addr": "grpc://127.0.0.1:8001", "zone": "a", "exported_zone": "own", "rack": "7"}
    ]
    everywhere = {"worker_addr": "grpc://127.0.0.1:8001", "zone": "a", "rack": "7"}.items()
    assert all(everywhere <= sample.labels.items() for sample in it.samples)


def test_without_own_metrics_the_worker_has_the_exposition_to_itself(
    assemble: Assemble, directory: Path
) -> None:
    files.write(directory / "gauge_max_1.db", {files.gauge("smg_exporter_up"): 7, files.gauge("x"): 1})
    with_own = assemble()
    assert with_own.look_and_scrape().values("smg_exporter_up") == [1]
    assert errors(with_own) == {"name_conflict": 1}
    without_own = assemble(no_self_metrics=True)
    assert without_own.look_and_scrape().names == {"smg_exporter_up", "x"}
    assert without_own.scrape().values("smg_exporter_up") == [7]


def test_the_worker_decides_on_gauges_when_it_is_down(assemble: Assemble, directory: Path) -> None:
    files.write(directory / "gauge_max_999999999.db", {files.gauge("g"): 7})
    assert assemble(liveness="on").look_and_scrape().values("g") == []
    assert assemble(liveness="on", when_worker_down="keep-gauges").look_and_scrape().values("g") == [7]
    assert assemble(liveness="off").look_and_scrape().values("g") == [7]


def test_a_file_beyond_the_limit_is_skipped(assemble: Assemble, directory: Path) -> None:
    files.write(directory / "counter_1.db", {files.counter("x"): 1})
    files.write(directory / "counter_2.db", {files.counter("x"): 1})
    os.truncate(directory / "counter_2.db", 2 << 20)
    it = assemble(max_file_size="1MiB")
    assert it.look_and_scrape().value("x_total") == 1
    assert errors(it) == {"too_large": 1}


def test_the_stock_collector(assemble: Assemble, directory: Path) -> None:
    files.write(directory / "counter_1.db", {files.counter("x"): 1})
    files.write(directory / "gauge_livesum_1.db", {files.gauge("g"): 1})
    it = assemble(collector="stock")
    served = it.look_and_scrape()
    assert (served.value("x_total"), served.value("g")) == (1, 1)
    assert served.value("smg_exporter_up") == 1
    assert it.status().ready
    assert it.parts.status().collector == "stock"


def test_the_stock_collector_tells_that_it_fails(assemble: Assemble, directory: Path) -> None:
    bad = directory / "counter_1.db"
    bad.write_bytes(files.raw_file(files.raw_entry(b"no JSON")))
    (directory / "odd.db").mkdir()
    it = assemble(collector="stock")
    with pytest.raises(ScrapeError):
        it.look_and_scrape()
    status = it.status()
    assert "prometheus_client's own merge failed" in status.problem
    assert status.file_errors == {"stock_failed": 1}
    assert status.file_counts["skipped"] == 0, "it reads whatever it is"
    bad.unlink()
    (directory / "odd.db").rmdir()
    assert it.look_and_scrape().value("smg_exporter_file_errors_total", reason="stock_failed") == 1
    assert "prometheus_client" not in it.status().problem


# --- Several directories ---


def several(tmp_path: Path, *names: str) -> list[str]:
    """Make directories with a counter of 1 each; return their paths."""
    for number, name in enumerate(names):
        (tmp_path / name).mkdir()
        files.write(tmp_path / name / f"counter_{number}.db", {files.counter("x"): 1})
    return [f"{tmp_path}/{name}" for name in names]


def test_directories_with_other_labels_are_other_workers(tmp_path: Path) -> None:
    paths = several(tmp_path, "dp0", "dp1")
    (tmp_path / "dp1" / "counter_9.db").touch()
    it = Assembled(multiproc_dir=[f"{path},rank={rank}" for rank, path in enumerate(paths)])
    served = it.look_and_scrape()
    served.check()
    labels = {"worker_addr": "grpc://127.0.0.1:8001"}
    assert served.labels("x_total") == [labels | {"rank": "0"}, labels | {"rank": "1"}]
    assert served.value("smg_exporter_series", rank="1") == 1
    assert served.value("smg_exporter_file_errors_total", rank="0", reason="empty") == 0
    assert served.value("smg_exporter_file_errors_total", rank="1", reason="empty") == 1
    assert served.labels("smg_exporter_build_info")[0].keys() >= {"worker_addr", "version"}
    assert served.values("process_open_fds") == [served.value("process_open_fds")], "once"
    assert "rank" not in served.labels("process_open_fds")[0]
    assert served.value("smg_exporter_answers_without_worker_total", rank="0", reason="late") == 0
    assert served.value("smg_exporter_conflicting_families") == 0


def test_directories_with_the_same_labels_are_one_worker(tmp_path: Path) -> None:
    several(tmp_path, "dp0", "dp1", "other")
    it = Assembled(multiproc_dir=[f"{tmp_path}/dp*,app=a", f"{tmp_path}/other,app=a"])
    served = it.look_and_scrape()
    assert served.value("x_total", app="a") == 3
    assert len(served.labels("smg_exporter_up")) == 1
    assert "smg_exporter_answers_without_worker_total" not in served.names
    assert it.status().directory == f"{tmp_path}/dp*, {tmp_path}/other"
    several(tmp_path, "dp2")
    assert it.look_and_scrape().value("x_total", app="a") == 4


def test_no_directory_that_matches(tmp_path: Path) -> None:
    it = Assembled(multiproc_dir=f"{tmp_path}/dp*")
    assert it.look_and_scrape().value("smg_exporter_up") == 0
    assert it.status().problem == f"{tmp_path}/dp*: No such directory"


def test_a_worker_that_fails_is_said_and_costs_the_others_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    paths = several(tmp_path, "dp0", "dp1")
    it = Assembled(multiproc_dir=[f"{path},rank={rank}" for rank, path in enumerate(paths)])
    it.look()

    def fail() -> None:
        raise LookupError("a fault of ours")

    monkeypatch.setattr(it.worker.engine, "update", fail)
    for _ in range(2):
        served = it.scrape()
        assert served.labels("x_total") == [{"worker_addr": "grpc://127.0.0.1:8001", "rank": "1"}]
    assert it.status().problem == f"{paths[0]}: LookupError('a fault of ours')"
    assert served.value("smg_exporter_answers_without_worker_total", rank="0", reason="failed") == 2
    (told,) = (vars(record)["fields"] for record in caplog.records if record.levelname == "ERROR")
    assert told == {"directory": paths[0], "problem": it.status().problem}
    monkeypatch.undo()
    assert len(it.scrape().labels("x_total")) == 2
    assert it.status().problem == ""


def test_a_family_that_two_workers_type_otherwise_is_counted(tmp_path: Path) -> None:
    paths = several(tmp_path, "dp0", "dp1")
    files.write(tmp_path / "dp0" / "gauge_max_1.db", {files.gauge("y"): 1})
    files.write(tmp_path / "dp1" / "counter_7.db", {files.counter("y"): 1})
    it = Assembled(multiproc_dir=[f"{path},rank={rank}" for rank, path in enumerate(paths)])
    it.look_and_scrape()
    served = it.scrape()
    assert served.value("smg_exporter_conflicting_families") == 1
    assert "y_total" not in served.names
