"""Never in the worker's way: what it wrote stays as it is."""

import os
import shutil
from pathlib import Path

import pytest

from exporter.multiproc.collector import IncrementalCollector
from exporter.multiproc.engine import Engine
from exporter.multiproc.evidence import HostEvidence
from exporter.multiproc.fileset import FileSet, decide
from exporter.multiproc.listing import list_directory
from exporter.multiproc.liveness import Liveness
from tests.support.files import counter, looks, write

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@pytest.fixture
def directory(recorded: dict[str, Path], tmp_path: Path) -> Path:
    directory = Path(shutil.copytree(recorded["tp1"], tmp_path / "worker"))
    (directory / "counter_1.db").write_bytes(b"abc")
    (directory / "counter_2.db").touch()
    (directory / "gauge_x.db").write_bytes(b"x")
    write(directory / "gauge_livesum_999999999.db", {counter("a"): 1.0})
    return directory


def test_nothing_changes(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[tuple[str, int]] = []
    original = os.open

    def noted(path: str, flags: int, *args: int) -> int:
        opened.append((path, flags))
        return original(path, flags, *args)

    directory.chmod(0o555)
    before = looks(directory)
    files = FileSet(str(directory))

    def look() -> FileSet:
        nonlocal files
        listing = list_directory(str(directory), files.listing)
        files = decide(files, listing, HostEvidence(str(directory)), Liveness.ON)
        return files

    monkeypatch.setattr(os, "open", noted)
    for engine in (IncrementalCollector(None, str(directory)).engine, Engine(look)):
        for _ in range(3):
            engine.update()
            assert engine.snapshot
    monkeypatch.undo()
    assert looks(directory) == before
    directory.chmod(0o755)
    assert {Path(path).name for path, _ in opened} >= {path.name for path in directory.glob("*_14107.db")}
    assert not [path for path, flags in opened if flags & WRITING]


def test_a_writer_goes_on_beside_a_reader(tmp_path: Path) -> None:
    """No lock is held on a file that is read."""
    collector = IncrementalCollector(None, str(tmp_path))
    for number in range(1, 4):
        write(tmp_path / "counter_1.db", {counter("a", number=str(number)): 1.0})
        assert [len(metric.samples) for metric in collector.collect()] == [number]
        path = (tmp_path / "counter_1.db").rename(tmp_path / "moved")
        path.rename(tmp_path / "counter_1.db")
