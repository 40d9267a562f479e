"""Several directories of one worker, listed as one and merged."""

import shutil
from pathlib import Path

import pytest

from exporter.exposition.text import Renderer
from exporter.model import Format
from exporter.multiproc.directories import Directories
from exporter.multiproc.engine import Engine
from exporter.multiproc.fileset import FileSet, decide, unreadable
from exporter.multiproc.listing import Lister
from exporter.multiproc.liveness import Liveness
from tests.support import files
from tests.support.compare import text_of
from tests.support.expositions import Exposition


class Worker:
    """A worker over directories `dp*`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.directories = Directories([f"{root}/dp*"])
        self.files = FileSet(self.directories.base)
        self.engine = Engine(lambda: self.files)

    def write(self, rank: int, value: float, pid: int = 1) -> Path:
        directory = self.root / f"dp{rank}"
        directory.mkdir(exist_ok=True)
        files.write(directory / f"gauge_all_{pid}.db", {files.gauge("g", rank=str(rank)): value})
        return files.write(directory / f"counter_{pid}.db", {files.counter("x"): value})

    def total(self) -> float | None:
        """Look, read, and return the counter."""
        try:
            listing = self.directories.list(self.files.listing)
        except OSError as error:
            self.files = unreadable(self.files, str(error))
        else:
            self.files = decide(self.files, listing, None, Liveness.OFF)
        self.engine.update()
        served = Exposition(text_of(Renderer(Format.TEXT_0_0_4), self.engine.snapshot).decode())
        return next(iter(served.values("x_total")), None)


@pytest.fixture(name="it")
def _it(tmp_path: Path) -> Worker:
    return Worker(tmp_path)


def test_the_files_of_all_directories_are_summed_under_names_with_their_directory(it: Worker) -> None:
    it.write(0, 1)
    it.write(1, 2, pid=7)
    (it.root / "dp1" / "odd.db").touch()
    assert it.total() == 3
    assert list(it.files.files) == [
        *("dp0/counter_1.db", "dp0/gauge_all_1.db"),
        *("dp1/counter_7.db", "dp1/gauge_all_7.db"),
    ]
    assert list(it.files.skipped) == ["dp1/odd.db"]
    pids = [dict(labels)["pid"] for _, labels in it.engine.snapshot[0].samples[0]]
    assert pids == ["1", "7"], "of their files' names alone"
    assert it.files.listing
    assert list(it.files.listing.directories) == [f"{it.root}/dp0", f"{it.root}/dp1"]


def test_nothing_new_is_the_same_listing(it: Worker) -> None:
    it.write(0, 1)
    it.write(1, 2)
    first = it.directories.list(None)
    assert it.directories.list(first) is first
    it.write(1, 2, pid=5)
    second = it.directories.list(first)
    assert second is not first
    assert second.files["dp1/counter_1.db"] is first.files["dp1/counter_1.db"]


def test_a_directory_that_comes_adds_and_one_that_goes_leaves_its_counts(it: Worker) -> None:
    it.write(0, 1)
    assert it.total() == 1
    it.write(1, 10)
    assert it.total() == 11
    shutil.rmtree(it.root / "dp1")
    assert it.total() == 11
    it.write(1, 100)
    assert it.total() == 111, "the directory is a new one"
    epoch = it.files.epoch
    shutil.rmtree(it.root / "dp0")
    it.write(1, 101)
    assert it.total() == 112
    assert it.files.epoch == epoch


def test_when_all_directories_are_gone_or_replaced_it_is_another_worker(it: Worker) -> None:
    it.write(0, 1)
    it.write(1, 10)
    assert it.total() == 11
    for rank in (0, 1):
        (it.root / f"dp{rank}").rename(it.root / f"old{rank}")
        it.write(rank, 2)
    assert it.total() == 4, "replaced"
    for rank in (0, 1):
        shutil.rmtree(it.root / f"dp{rank}")
    assert it.total() is None
    assert it.files.problem == "[Errno 2] No such directory"
    it.write(0, 5)
    assert it.total() == 5


def test_a_directory_that_cannot_be_listed_counts_as_it_was_last(
    it: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    it.write(0, 1)
    it.write(1, 10)
    assert it.total() == 11

    def fail(_self: Lister, _before: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as context:
        context.setattr(Lister, "list", fail)
        it.write(1, 20)
        assert it.total() == 21, "its files can still be read"
        fault = it.files.skipped[f"{it.root}/dp1"]
        assert (fault.reason, fault.text) == ("unreadable", "cannot be listed: Permission denied")
        it.write(2, 100)
        assert it.total() == 21, "of this one nothing is known"
    assert it.total() == 121
    assert not it.files.skipped


def test_a_directory_with_two_paths_is_read_once(it: Worker) -> None:
    it.write(0, 1)
    (it.root / "dp1").symlink_to(it.root / "dp0")
    assert it.total() == 1


def test_plain_paths_and_patterns_may_be_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a/dp0", "a/dp1", "b"):
        (tmp_path / name).mkdir(parents=True)
        files.write(tmp_path / name / "counter_1.db", {files.counter("x"): 1})
    monkeypatch.chdir(tmp_path)
    several = Directories(["a/dp[01]", "b", "b", "missing"])
    assert several.base == str(tmp_path)
    assert list(several.list(None).files) == ["a/dp0/counter_1.db", "a/dp1/counter_1.db", "b/counter_1.db"]
    assert Directories(["/*/x", "/b"]).base == ""


def test_a_directory_whose_name_looks_like_a_pattern_is_found(tmp_path: Path) -> None:
    (tmp_path / "dp[1]").mkdir()
    files.write(tmp_path / "dp[1]" / "counter_1.db", {files.counter("x"): 1})
    assert list(Directories([f"{tmp_path}/dp[1]"]).list(None).files) == ["dp[1]/counter_1.db"]
