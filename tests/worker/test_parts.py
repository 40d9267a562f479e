"""The options, as the parts that are made from them obey."""

import os
from pathlib import Path

import pytest

from exporter.errors import ScrapeError
from tests.support import files
from tests.worker.assembled import Assemble, errors


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
