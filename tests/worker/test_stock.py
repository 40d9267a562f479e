"""prometheus_client's own merge, served beside ours."""

import math
import re
from pathlib import Path

import pytest
from prometheus_client.multiprocess import MultiProcessCollector

from exporter.errors import ScrapeError
from exporter.exposition.text import Renderer
from exporter.model import Format
from exporter.multiproc.fileset import FileSet, decide, unreadable
from exporter.multiproc.listing import list_directory
from exporter.multiproc.liveness import Liveness
from exporter.worker.stock import StockCollector
from tests.support import files
from tests.support.compare import facts, text_of
from tests.support.expositions import Exposition


class Nobody:
    """Evidence that no process lives."""

    def existing(self, _pids: frozenset[str]) -> list[str]:
        return []

    def find_process(self, _pid: str) -> None:
        return None

    def is_set_up(self, _name: str) -> bool:
        return True

    def last_write(self, _name: str) -> float:
        return 0.0


def looked_at(directory: Path) -> FileSet:
    path = str(directory)
    return decide(FileSet(path), list_directory(path), None, Liveness.OFF)


def served(file_set: FileSet, labels: tuple[tuple[str, str], ...] = ()) -> str:
    collector = StockCollector(lambda: file_set, labels)
    collector.update()
    return text_of(Renderer(Format.TEXT_0_0_4), collector.snapshot).decode()


def test_it_is_the_stock_collector(recorded: dict[str, Path]) -> None:
    it = Exposition(served(looked_at(recorded["tp1"])))
    stock = MultiProcessCollector(None, str(recorded["tp1"])).collect()
    assert facts(it.families) == facts(stock)


def test_labels_are_added_and_families_stand_in_order(tmp_path: Path) -> None:
    files.write(tmp_path / "counter_2.db", {files.counter("z"): 1, files.counter("a", x="1"): 2})
    it = Exposition(served(looked_at(tmp_path), (("worker_addr", "w"), ("zone", "b"))))
    assert [(sample.name, sample.labels, sample.value) for sample in it.samples] == [
        ("a_total", {"worker_addr": "w", "x": "1", "zone": "b"}, 2),
        ("z_total", {"worker_addr": "w", "zone": "b"}, 1),
    ]


def test_no_directory_is_no_families(tmp_path: Path) -> None:
    assert served(unreadable(FileSet(str(tmp_path / "missing")), "it is missing")) == ""


def test_one_bad_file_costs_everything_as_it_does_there(tmp_path: Path) -> None:
    files.write(tmp_path / "counter_1.db", {files.counter("a"): 1})
    (tmp_path / "counter_2.db").write_bytes(files.raw_file(files.raw_entry(b"no JSON")))
    with pytest.raises(ScrapeError, match="JSONDecodeError"):
        served(looked_at(tmp_path))


def test_a_failure_is_counted(tmp_path: Path) -> None:
    (tmp_path / "counter_1.db").write_bytes(files.raw_file(files.raw_entry(b"no JSON")))
    collector = StockCollector(lambda: looked_at(tmp_path), ())
    for count in (1, 2):
        with pytest.raises(ScrapeError, match=re.escape(f"{tmp_path}: prometheus_client's own merge failed")):
            collector.update()
        assert collector.errors == {"stock_failed": count}


def test_a_change_while_no_writer_was_ever_found_is_a_sign_of_all(tmp_path: Path) -> None:
    file = tmp_path / "gauge_max_1.db"

    def found_after(value: float) -> tuple[bool, list[str]]:
        files.write(file, {files.gauge("g"): value})
        collector.update()
        return collector.observed_change, list(collector.moved)

    files.write(file, {files.gauge("g"): 1})
    listing = list_directory(str(tmp_path))
    nobody = decide(FileSet(str(tmp_path)), listing, Nobody(), Liveness.AUTO)
    assert nobody.worker_up is False
    collector = StockCollector(lambda: nobody, ())
    assert found_after(math.nan) == (False, []), "it is the first read"
    assert found_after(math.nan) == (False, [])
    assert found_after(2) == (True, ["1"])
    assert decide(nobody, listing, Nobody(), Liveness.AUTO, collector.moved).foreign


def test_another_file_set_is_no_change_of_a_value(tmp_path: Path) -> None:
    collector = StockCollector(lambda: looked_at(tmp_path), ())
    for number in range(3):
        files.write(tmp_path / f"counter_{number}.db", {files.counter("x"): 1})
        collector.update()
        assert (collector.observed_change, collector.moved) == (False, ())
