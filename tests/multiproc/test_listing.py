"""Listing a directory: which entries count, by their names."""

import os
import socket
from pathlib import Path

import pytest
from prometheus_client.multiprocess import MultiProcessCollector

from exporter.multiproc import listing as listing_module
from exporter.multiproc.faults import Fault
from exporter.multiproc.listing import Listed, list_directory, stock_pid
from tests.support.files import counter, gauge, total, write


def test_list_directory(tmp_path: Path) -> None:
    good = {
        "counter_1.db": ("counter", "1"),
        "counter_22.db": ("counter", "22"),
        "gauge_all_1.db": ("gauge_all", "1"),
        "gauge_livemostrecent_1.db": ("gauge_livemostrecent", "1"),
        "histogram_1.db": ("histogram", "1"),
        "summary_1.db": ("summary", "1"),
        "counter_rust-5027.db": ("counter", "5027"),
        "gauge_max_rust-5027.db": ("gauge_max", "5027"),
        "counter_my worker.db": ("counter", "my worker"),
        "counter_a_b.db": ("counter", "a_b"),
        "counter_.db": ("counter", ""),
        "counter_0.db": ("counter", "0"),
        "counter_007.db": ("counter", "007"),
        "counter_1x.db": ("counter", "1x"),
        "counter_1.db.db": ("counter", "1.db"),
        "counter_\u0661.db": ("counter", "\u0661"),
        "counter_1\n.db": ("counter", "1\n"),
    }
    for name in good:
        write(tmp_path / name, {counter("a"): 1.0})
    found = list_directory(str(tmp_path))
    assert {name: (file.kind, file.writer) for name, file in found.files.items()} == good
    info = (tmp_path / "counter_1.db").stat()
    assert found.files["counter_1.db"][:3] == ("counter_1.db", info.st_dev, info.st_ino)
    assert found.identity == (tmp_path.stat().st_dev, tmp_path.stat().st_ino)
    assert not found.skipped


def test_stock_reads_a_file_of_every_name_that_counts(tmp_path: Path) -> None:
    for name in ("counter_a_b.db", "gauge_all_a_b.db", "gauge_max_.db", "histogram_x-1.db"):
        key = {"c": counter("a"), "g": gauge("b"), "h": total("h")}[name[0]]
        path = write(tmp_path / name, {key: 1.0})
        assert MultiProcessCollector.merge([str(path)])


@pytest.mark.parametrize(
    "name",
    [
        "x.db",
        "gauge_x.db",
        "gauge_1.db",
        "gauge_nomode_1.db",
        "Counter_1.db",
        "info_1.db",
        "counter.db",
        "counter-1.db",
    ],
)
def test_odd_names_are_skipped_with_a_reason(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    write(tmp_path / "counter_1.db", {counter("a"): 1.0})
    found = list_directory(str(tmp_path))
    assert list(found.files) == ["counter_1.db"]
    assert found.skipped[name].reason == "bad_name"


@pytest.mark.parametrize(
    ("name", "pid"),
    [("gauge_all_1234.db", "1234"), ("gauge_all_rust-5.db", "rust-5"), ("gauge_all_some_name.db", "s")],
)
def test_the_pid_of_a_gauge_is_what_stock_takes_for_it(tmp_path: Path, name: str, pid: str) -> None:
    (metric,) = MultiProcessCollector.merge([str(write(tmp_path / name, {gauge("a"): 1.0}))])
    assert metric.samples[0].labels["pid"] == stock_pid(name) == pid


@pytest.mark.parametrize("name", ["counter_1.txt", "counter_1.db.tmp", ".db", ".counter_1.db", "db"])
def test_other_files_are_none_of_ours(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    found = list_directory(str(tmp_path))
    assert not found.files
    assert not found.skipped


def test_no_regular_files_are_skipped_with_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("counter_1.db")
    Path("counter_2.db").mkdir()
    Path("counter_3.db").symlink_to(write(tmp_path / "target", {counter("a"): 1.0}))
    Path("counter_4.db").symlink_to("nowhere")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("counter_5.db")
    found = list_directory(".")
    assert not found.files
    assert {name: fault.reason for name, fault in found.skipped.items()} == {
        f"counter_{number}.db": "not_regular" for number in range(1, 6)
    }


def test_a_file_that_goes_while_the_directory_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "counter_1.db", {counter("a"): 1.0})

    class Gone:
        name = "counter_2.db"

        @staticmethod
        def inode() -> int:
            return 0

        @staticmethod
        def stat(*, follow_symlinks: bool) -> os.stat_result:
            raise FileNotFoundError(follow_symlinks)

    class Scan:
        def __init__(self, path: str) -> None:
            self.entries = [Gone(), *original(path)]

        def __enter__(self) -> list[object]:
            return self.entries

        def __exit__(self, *_: object) -> None:
            pass

    original = os.scandir
    monkeypatch.setattr(os, "scandir", Scan)
    assert list(list_directory(str(tmp_path)).files) == ["counter_1.db"]


def test_a_directory_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list_directory(str(tmp_path / "nowhere"))
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        list_directory(str(tmp_path / "file"))


def test_a_listing_costs_what_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "counter_1.db", {counter("a"): 1.0})
    (tmp_path / "x.db").touch()
    before = list_directory(str(tmp_path))
    os.utime(file, (2e9, 2e9))
    assert list_directory(str(tmp_path), before) is before
    write(tmp_path / "counter_2.db", {counter("a"): 1.0})
    looked_at: list[str] = []
    look_at = listing_module._look_at

    def noted(entry: "os.DirEntry[str]") -> Listed | Fault | None:
        looked_at.append(entry.name)
        return look_at(entry)

    monkeypatch.setattr(listing_module, "_look_at", noted)
    after = list_directory(str(tmp_path), before)
    assert sorted(looked_at) == ["counter_2.db", "x.db"]
    assert after.files["counter_1.db"] is before.files["counter_1.db"]
    (tmp_path / "counter_2.db").unlink()
    assert list_directory(str(tmp_path), after).files == before.files
    (tmp_path / "x.db").unlink()
    assert list_directory(str(tmp_path), before) is not before


def test_a_file_that_took_anothers_name_is_listed_anew(tmp_path: Path) -> None:
    write(tmp_path / "counter_1.db", {counter("a"): 1.0})
    before = list_directory(str(tmp_path))
    write(tmp_path / "new", {counter("a"): 1.0}).rename(tmp_path / "counter_1.db")
    after = list_directory(str(tmp_path), before)
    assert after.files["counter_1.db"].inode == (tmp_path / "counter_1.db").stat().st_ino
    assert after.files["counter_1.db"] != before.files["counter_1.db"]
