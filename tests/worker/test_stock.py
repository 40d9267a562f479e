"""prometheus_client's own merge, served beside ours."""

from pathlib import Path

import pytest
from prometheus_client.multiprocess import MultiProcessCollector

from exporter.errors import ScrapeError
from exporter.exposition.negotiation import Encoding, Escaping, Offer
from exporter.model import Format
from exporter.multiproc.fileset import FileSet, Liveness, decide, unreadable
from exporter.multiproc.listing import list_directory
from exporter.worker.scrape import Scraper
from exporter.worker.stock import StockEngine
from tests.support import files
from tests.support.expositions import Exposition, facts

TEXT = Offer(Format.TEXT_0_0_4, Escaping.UNDERSCORES, Encoding.IDENTITY)


def looked_at(directory: Path) -> FileSet:
    path = str(directory)
    return decide(FileSet(path), list_directory(path), None, Liveness.OFF)


def served(file_set: FileSet, labels: tuple[tuple[str, str], ...] = ()) -> str:
    scraper = Scraper(StockEngine(lambda: file_set, labels), list, lambda: None)
    return scraper.bodies([TEXT])[TEXT].decode()


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
