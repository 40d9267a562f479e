import gc
import math
import os
import struct
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector

from exporter.model import Snapshot
from exporter.multiproc import blocks, dbfile
from exporter.multiproc import kind as kind_engine
from exporter.multiproc.collector import metrics
from exporter.multiproc.dbfile import DbFile, Found
from exporter.multiproc.engine import Engine
from exporter.multiproc.fileset import FileSet, decide
from exporter.multiproc.listing import list_directory
from exporter.multiproc.liveness import Liveness
from exporter.multiproc.processes import Process
from tests.support.compare import facts, values
from tests.support.files import (
    Processes,
    bucket,
    counter,
    gauge,
    raw_entry,
    raw_file,
    sample_key,
    total,
    write,
)


class Watched:
    """A directory whose processes live and die as a test says."""

    def __init__(self, directory: Path, liveness: Liveness = Liveness.ON) -> None:
        self.directory = directory
        self.living: set[int] = set()
        self.files = FileSet(str(directory))
        self._liveness = liveness

    def look(self, moved: Collection[str] = ()) -> FileSet:
        listing = list_directory(str(self.directory), self.files.listing)
        living = Processes({str(pid): Process(str(pid), 1, 0.0) for pid in self.living})
        self.files = decide(self.files, listing, living, self._liveness, moved)
        return self.files


class Clock:
    """Seconds, which pass at each call."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 10.0  # so that refused files are due whenever they are asked for
        return self.now


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def engine_on(directory: Path, **options: Any) -> Engine:
    """Return an engine on all files of a directory, whoever lives."""
    return Engine(Watched(directory, Liveness.OFF).look, clock=Clock(), **options)


def collect(engine: Engine) -> list[Metric]:
    engine.update()
    return list(metrics(engine.snapshot))


def numbers(snapshot: Snapshot) -> list[float]:
    """Return all values, in order."""
    return [value for family in snapshot for block in family.values for value in block]


def problems(engine: Engine) -> dict[str, str]:
    """Return why files, or samples of them, are left out, by file name."""
    return {name: fault.text for name, fault in {**engine.refused, **engine.left_out}.items()}


def sums(engine: Engine) -> dict[str, float | str]:
    """Return the samples by name, of metrics without labels."""
    return {name: value for (name, _), value in values(collect(engine)).items()}


def test_added_labels_and_processes_told_apart(tmp_path: Path) -> None:
    for pid in (1, 2):
        write(tmp_path / f"counter_{pid}.db", {counter("a", worker="theirs"): float(pid)})
    engine = engine_on(tmp_path, labels=[("worker", "ours")], per_process=True)
    assert values(collect(engine)) == {
        ("a_total", (("exported_worker", "theirs"), ("pid", "1"), ("worker", "ours"))): 1.0,
        ("a_total", (("exported_worker", "theirs"), ("pid", "2"), ("worker", "ours"))): 2.0,
    }


def test_a_bad_file_costs_itself_until_it_is_good(tmp_path: Path) -> None:
    write(tmp_path / "counter_1.db", {counter("a"): 1.0})
    (tmp_path / "counter_2.db").write_bytes(b"abc")
    engine = engine_on(tmp_path)
    for _ in range(3):
        assert sums(engine) == {"a_total": 1.0}
    assert +engine.errors == {"truncated": 1}
    assert engine.refused["counter_2.db"].text == "is 3 bytes, less than its 8-byte header"
    (tmp_path / "counter_2.db").write_bytes(raw_file(raw_entry(counter("a").encode(), 5.0)))
    assert sums(engine) == {"a_total": 6.0}
    assert problems(engine) == {}


def test_a_bad_file_is_forgotten_once_it_is_gone(tmp_path: Path) -> None:
    write(tmp_path / "counter_1.db", {counter("a"): 1.0})
    (tmp_path / "counter_2.db").write_bytes(b"abc")
    (tmp_path / "counter_3.db").write_bytes(b"defg")
    engine = engine_on(tmp_path)
    engine.update()
    (tmp_path / "counter_2.db").unlink()
    engine.update()
    assert list(problems(engine)) == ["counter_3.db"]
    assert +engine.errors == {"truncated": 2}


def test_a_bad_sample_costs_itself(tmp_path: Path) -> None:
    path = write(
        tmp_path / "counter_1.db", {counter("a"): 1.0, "nonsense": 2.0, counter("b"): 3.0, "[]": 4.0}
    )
    engine = engine_on(tmp_path)
    for value in (1.0, 2.0, 3.0):
        write(path, {counter("a"): value})
        assert sums(engine) == {"a_total": value, "b_total": 3.0}
        assert +engine.errors == {"bad_key": 2}
        assert problems(engine)["counter_1.db"].startswith("2 of its samples left out: ")
    write(path, {"more nonsense": 1.0})
    assert sums(engine) == {"a_total": 3.0, "b_total": 3.0}
    assert +engine.errors == {"bad_key": 3}
    assert problems(engine)["counter_1.db"].startswith("3 of its samples left out: ")


def test_errors_are_counted_once_though_files_come_and_go(tmp_path: Path) -> None:
    write(tmp_path / "counter_1.db", {"nonsense": 2.0, counter("a"): 1.0})
    (tmp_path / "counter_2.db").write_bytes(b"abc")
    write(tmp_path / "counter_3.db", {counter("a"): 1.0})
    engine = engine_on(tmp_path)
    engine.update()
    errors, before = +engine.errors, problems(engine)
    (tmp_path / "counter_3.db").unlink()
    engine.update()
    assert +engine.errors == errors == {"bad_key": 1, "truncated": 1}
    assert problems(engine) == before


def test_a_family_with_two_types_keeps_the_first(tmp_path: Path) -> None:
    write(tmp_path / "counter_1.db", {counter("a"): 1.0})
    write(tmp_path / "gauge_max_1.db", {gauge("a"): 2.0, gauge("b"): 3.0})
    engine = engine_on(tmp_path)
    assert sums(engine) == {"a_total": 1.0, "b": 3.0}
    assert +engine.errors == {"type_conflict": 1}
    assert "gauge_max_1.db" in problems(engine)


def test_the_same_series_in_other_words_is_one_series(tmp_path: Path) -> None:
    keys = (counter("a", x="1", y="2"), '["a","a_total",{"y":"2","x":"1"},"Other help."]')
    for pid, key in enumerate(keys, 1):
        write(tmp_path / f"counter_{pid}.db", {key: 1.0})
    assert list(values(collect(engine_on(tmp_path))).values()) == [2.0]


def test_the_same_key_twice_in_a_file(tmp_path: Path) -> None:
    key = counter("a").encode()
    (tmp_path / "counter_1.db").write_bytes(raw_file(raw_entry(key, 1.0), raw_entry(key, 2.0)))
    assert len(values(collect(engine_on(tmp_path)))) == 1


@pytest.mark.parametrize("missing", range(4))
def test_a_histogram_that_lacks_an_entry_is_still_whole(tmp_path: Path, missing: int) -> None:
    keys = [total("h"), bucket("h", "1.0"), bucket("h", "2.0"), bucket("h", "+Inf")]
    del keys[missing]
    write(tmp_path / "histogram_1.db", dict.fromkeys(keys, 1.0))
    got = sums_of_histogram(engine_on(tmp_path))
    assert got["+Inf"] == got["count"] == (3.0 if missing == 0 else 2.0)
    assert got["sum"] == (0.0 if missing == 0 else 1.0)


def sums_of_histogram(engine: Engine) -> dict[str, float | str]:
    """Return a histogram's buckets by bound, its sum and its count."""
    found = values(collect(engine))
    return {
        dict(labels).get("le") or name.rpartition("_")[2]: value for (name, labels), value in found.items()
    }


def test_a_histogram_seen_while_it_is_set_up(tmp_path: Path) -> None:
    path = tmp_path / "histogram_1.db"
    engine = engine_on(tmp_path)
    write(path, {total("h"): 0.0})
    assert sums_of_histogram(engine) == {"+Inf": 0.0, "sum": 0.0, "count": 0.0}
    write(path, {bucket("h", "1.0"): 2.0})
    assert sums_of_histogram(engine) == {"1.0": 2.0, "+Inf": 2.0, "sum": 0.0, "count": 2.0}
    write(path, {bucket("h", "+Inf"): 3.0, total("h"): 9.0})
    assert sums_of_histogram(engine) == {"1.0": 2.0, "+Inf": 5.0, "sum": 9.0, "count": 5.0}


# --- what a file loses stays in the sums


def test_sums_keep_what_a_truncated_file_had(tmp_path: Path) -> None:
    write(tmp_path / "counter_1.db", {counter("a"): 1.0, counter("b"): 2.0})
    write(tmp_path / "counter_2.db", {counter("a"): 10.0, counter("b"): 20.0})
    engine = engine_on(tmp_path)
    assert sums(engine) == {"a_total": 11.0, "b_total": 22.0}
    os.truncate(tmp_path / "counter_1.db", 3)
    assert sums(engine) == {"a_total": 11.0, "b_total": 22.0}
    assert list(problems(engine)) == ["counter_1.db"]
    write(tmp_path / "counter_2.db", {counter("b"): 25.0})
    assert sums(engine) == {"a_total": 11.0, "b_total": 27.0}


@pytest.mark.parametrize(
    ("kind", "key", "name"), [("gauge_sum", gauge("a"), "a"), ("counter", counter("a"), "a_total")]
)
def test_a_refused_file_keeps_its_last_good_share_until_it_is_good_again_or_goes(
    watched: Watched, kind: str, key: str, name: str
) -> None:
    watched.living = {1, 2}
    paths = [write(watched.directory / f"{kind}_{pid}.db", {key: float(pid)}) for pid in (1, 2)]
    engine = Engine(watched.look, clock=Clock())
    assert sums(engine) == {name: 3.0}
    whole = paths[0].read_bytes()
    for after in (whole, raw_file(raw_entry(key.encode(), 1.0), raw_entry(gauge("b").encode(), 1.0))):
        os.truncate(paths[0], 3)
        for _ in range(3):
            assert sums(engine) == {name: 3.0}
            assert list(engine.refused) == [paths[0].name]
        paths[0].write_bytes(after)
        assert sums(engine)[name] == 3.0, "and never twice"
        assert engine.refused == {}
    os.truncate(paths[0], 3)
    paths[0].unlink()
    assert sums(engine)[name] == (2.0 if kind == "gauge_sum" else 3.0)
    assert engine.refused == {}


def test_a_refused_file_that_is_another_when_it_is_good_again(tmp_path: Path) -> None:
    path = write(tmp_path / "counter_1.db", {counter("a"): 5.0, counter("b"): 1.0})
    engine = engine_on(tmp_path)
    assert sums(engine) == {"a_total": 5.0, "b_total": 1.0}
    os.truncate(path, 3)
    assert sums(engine) == {"a_total": 5.0, "b_total": 1.0}
    path.write_bytes(raw_file(raw_entry(counter("a").encode(), 2.0)))
    assert sums(engine) == {"a_total": 7.0, "b_total": 1.0}


def test_a_file_rewritten_with_other_keys(tmp_path: Path) -> None:
    path = write(tmp_path / "counter_1.db", {counter("a"): 1.0, counter("b"): 2.0})
    engine = engine_on(tmp_path)
    assert sums(engine) == {"a_total": 1.0, "b_total": 2.0}
    path.write_bytes(raw_file(*(raw_entry(counter(name).encode(), 9.0) for name in "cd")))
    os.utime(path, (2e9, 2e9))
    assert sums(engine) == {"a_total": 1.0, "b_total": 2.0, "c_total": 9.0, "d_total": 9.0}


def test_sums_stay_when_some_files_go(tmp_path: Path) -> None:
    for pid in (1, 2):
        write(tmp_path / f"counter_{pid}.db", {counter("a"): 10.0 * pid, counter(f"only_{pid}"): 1.0})
        write(tmp_path / f"gauge_sum_{pid}.db", {gauge("g"): 1.0})
        write(
            tmp_path / f"histogram_{pid}.db",
            {total("h"): 1.0, bucket("h", f"{pid}.0"): 1.0, bucket("h", "+Inf"): 2.0},
        )
    engine = engine_on(tmp_path)
    before = values(collect(engine))
    for name in ("counter_1.db", "gauge_sum_1.db", "histogram_1.db"):
        (tmp_path / name).unlink()
    after = values(collect(engine))
    assert after == before | {("g", ()): 1.0}
    write(tmp_path / "counter_2.db", {counter("a"): 21.0})
    assert values(collect(engine)) == after | {("a_total", ()): 31.0}


def test_a_new_worker_starts_anew(tmp_path: Path) -> None:
    for pid in (1, 2):
        write(tmp_path / f"counter_{pid}.db", {counter("a"): 10.0})
    engine = Engine((watched := Watched(tmp_path, Liveness.OFF)).look)
    assert sums(engine) == {"a_total": 20.0}
    for path in tmp_path.iterdir():
        path.unlink()
    assert sums(engine) == {}
    write(tmp_path / "counter_1.db", {counter("a"): 1.0})
    assert sums(engine) == {"a_total": 1.0}
    assert watched.files.epoch == 1


def test_a_file_that_goes_before_the_next_look(tmp_path: Path) -> None:
    watched = Watched(tmp_path, Liveness.OFF)
    for pid in (1, 2):
        write(tmp_path / f"counter_{pid}.db", {counter("a"): 10.0})
    engine = Engine(lambda: watched.files)
    watched.look()
    (tmp_path / "counter_1.db").unlink()
    assert sums(engine) == {"a_total": 10.0}
    assert +engine.errors == {}
    watched.look()
    assert sums(engine) == {"a_total": 10.0}


# --- the living and the dead


def test_live_gauges_are_of_the_living(watched: Watched) -> None:
    watched.living = {1, 2}
    for pid in (1, 2):
        for mode in ("sum", "livesum", "liveall"):
            write(watched.directory / f"gauge_{mode}_{pid}.db", {gauge(mode): float(pid)})
    engine = Engine(watched.look, clock=Clock())
    assert values(collect(engine)) == {
        ("sum", ()): 3.0,
        ("livesum", ()): 3.0,
        ("liveall", (("pid", "1"),)): 1.0,
        ("liveall", (("pid", "2"),)): 2.0,
    }
    watched.living = {2}
    assert values(collect(engine)) == {
        ("sum", ()): 3.0,
        ("livesum", ()): 2.0,
        ("liveall", (("pid", "2"),)): 2.0,
    }


@pytest.mark.parametrize(
    ("keep_gauges", "expected"), [(False, {"a_total": 1.0}), (True, {"a_total": 1.0, "g": 2.0})]
)
def test_gauges_once_every_writer_is_dead(
    watched: Watched, expected: dict[str, float], *, keep_gauges: bool
) -> None:
    watched.living = {1}
    write(watched.directory / "counter_1.db", {counter("a"): 1.0})
    write(watched.directory / "gauge_sum_1.db", {gauge("g"): 2.0})
    engine = Engine(watched.look, keep_gauges=keep_gauges)
    assert sums(engine) == {"a_total": 1.0, "g": 2.0}
    watched.living = set()
    for _ in range(3):
        assert sums(engine) == expected
    watched.living = {1}
    assert sums(engine) == {"a_total": 1.0, "g": 2.0}


class Reads:
    """Notes the names of the files that are read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        read, read_once = DbFile.read, dbfile.read_once

        def noted(file: DbFile) -> Found:
            self.names.append(Path(file._path).name)
            return read(file)

        def noted_once(path: str, *args: Any, **options: Any) -> Any:
            self.names.append(Path(path).name)
            return read_once(path, *args, **options)

        monkeypatch.setattr(DbFile, "read", noted)
        monkeypatch.setattr(kind_engine, "read_once", noted_once)

    def take(self) -> list[str]:
        names, self.names = self.names, []
        return sorted(names)


def test_a_dead_writers_files_are_read_for_a_while_and_then_cost_nothing(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = Reads(monkeypatch)
    watched.living = {1, 2}
    for pid in (1, 2):
        write(watched.directory / f"counter_{pid}.db", {counter("a"): 1.0})
    engine = Engine(watched.look, clock=Clock())
    assert sums(engine) == {"a_total": 2.0}
    write(watched.directory / "counter_1.db", {counter("a"): 5.0})
    watched.living = {2}
    for _ in range(2):
        assert sums(engine) == {"a_total": 6.0}
    reads.take()
    before = descriptors()
    for value in (2.0, 3.0):
        write(watched.directory / "counter_2.db", {counter("a"): value})
        assert sums(engine) == {"a_total": 5.0 + value}
    assert reads.take() == ["counter_2.db"] * 2
    assert descriptors() == before


def test_a_death_reads_only_the_files_of_the_one_that_died(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = {
        "counter": counter("c"),
        "gauge_max": gauge("m"),
        "gauge_livesum": gauge("l"),
        "gauge_all": gauge("a"),
    }
    watched.living = set(range(1, 11))
    for pid in watched.living:
        for one, key in kinds.items():
            write(watched.directory / f"{one}_{pid}.db", {key: float(pid)})
    engine = Engine(watched.look, clock=Clock())
    sums(engine)
    reads = Reads(monkeypatch)
    for pid in range(1, 8):
        watched.living.remove(pid)
        living = [f"{one}_{other}.db" for one in kinds for other in watched.living]
        died = [f"{one}_{pid}.db" for one in kinds if "live" not in one]
        for read in ([*living, *died], [*living, *died], living):
            said = sums(engine)
            assert (said["c_total"], said["m"], said["l"]) == (55.0, 10.0, float(sum(watched.living)))
            assert reads.take() == sorted(read)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count is all that is needed


def test_writers_that_die_one_after_the_other(watched: Watched) -> None:
    watched.living = {1, 2, 3}
    for pid in (1, 2, 3):
        write(watched.directory / f"counter_{pid}.db", {counter("a"): float(pid), counter("b"): 1.0})
    engine = Engine(watched.look, clock=Clock())
    for living in ({1, 2, 3}, {2, 3}, {3}, {3, 4}, set()):
        watched.living = living
        assert sums(engine) == {"a_total": 6.0, "b_total": 3.0}


def test_a_new_writer_goes_on_with_a_dead_ones_file(watched: Watched) -> None:
    watched.living = {1, 2}
    for pid in (1, 2):
        write(watched.directory / f"counter_{pid}.db", {counter("a"): 1.0})
    engine = Engine(watched.look, clock=Clock())
    for living, value in (({2}, 2.0), ({1, 2}, 3.0), ({2}, 4.0), ({1, 2}, 5.0)):
        watched.living = living
        write(watched.directory / "counter_1.db", {counter("a"): value})
        assert sums(engine) == {"a_total": 1.0 + value}


def test_a_bad_file_of_a_dead_writer_is_read_once_it_is_good(watched: Watched) -> None:
    watched.living = {2}
    (watched.directory / "counter_1.db").write_bytes(b"abc")
    write(watched.directory / "counter_2.db", {counter("a"): 1.0})
    engine = Engine(watched.look, clock=Clock())
    assert sums(engine) == {"a_total": 1.0}
    (watched.directory / "counter_1.db").write_bytes(raw_file(raw_entry(counter("a").encode(), 5.0)))
    assert sums(engine) == {"a_total": 6.0}


def test_files_that_move_though_their_writer_is_dead_are_reported(tmp_path: Path) -> None:
    watched = Watched(tmp_path, Liveness.AUTO)
    path = write(tmp_path / "counter_1.db", {counter("a"): 1.0})
    write(tmp_path / "counter_2.db", {counter("a"): 1.0})
    engine = Engine(lambda: watched.files)
    watched.look()
    assert sums(engine) == {"a_total": 2.0}
    assert engine.moved == set()  # the first read moves nothing
    write(path, {counter("a"): 2.0})
    assert sums(engine) == {"a_total": 3.0}
    assert engine.moved == {"1"}
    assert watched.look(engine.moved).foreign
    assert sums(engine) == {"a_total": 3.0}
    assert engine.moved == set()


def test_the_newest_stamp(tmp_path: Path) -> None:
    write(tmp_path / "gauge_mostrecent_1.db", {gauge("a"): (1.0, 100.0), gauge("b"): (2.0, 300.0)})
    write(tmp_path / "gauge_mostrecent_2.db", {gauge("a"): (1.0, 200.0), gauge("c"): (999.0, 0.0)})
    engine = engine_on(tmp_path)
    assert engine.last_stamp == 0.0
    engine.update()
    assert engine.last_stamp == 300.0
    write(tmp_path / "gauge_mostrecent_2.db", {gauge("a"): (1.0, 400.0)})
    engine.update()
    assert engine.last_stamp == 400.0


def test_a_directory_that_cannot_be_listed(tmp_path: Path) -> None:
    files = FileSet(str(tmp_path), problem="gone")
    engine = Engine(lambda: files)
    assert list(collect(engine)) == []


def test_reserved_names_are_left_to_others(tmp_path: Path) -> None:
    write(tmp_path / "gauge_max_1.db", {gauge("up"): 1.0, gauge("down"): 1.0})
    engine = engine_on(tmp_path, reserved_names=["up"])
    assert sums(engine) == {"down": 1.0}
    assert +engine.errors == {"name_conflict": 1}


def test_entries_that_are_no_files_of_ours_are_counted_when_they_come(tmp_path: Path) -> None:
    write(tmp_path / "counter_1.db", {counter("a"): 1.0})
    (tmp_path / "odd.db").touch()
    (tmp_path / "counter_2.db").mkdir()
    engine = engine_on(tmp_path)
    for number in range(3, 6):
        write(tmp_path / f"counter_{number}.db", {counter("a"): 1.0})
        engine.update()
        assert +engine.errors == {"bad_name": 1, "not_regular": 1}
    (tmp_path / "odder.db").touch()
    engine.update()
    assert +engine.errors == {"bad_name": 2, "not_regular": 1}


def test_the_largest_file_allowed(tmp_path: Path) -> None:
    write(tmp_path / "counter_1.db", {counter("a"): 1.0})
    for size, expected in ((2**16, {"a_total": 1.0}), (2**16 - 1, {})):
        assert sums(engine_on(tmp_path, max_file_size=size)) == expected


def oversized(path: Path) -> None:
    write(path, {counter("b"): 1.0})
    os.truncate(path, 2**40)


def claims_two_gigabytes(path: Path) -> None:
    path.write_bytes(struct.pack("=i4x", 2**31 - 1))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (oversized, "too_large"),
        (claims_two_gigabytes, "truncated"),
        (Path.touch, "empty"),
        (lambda path: path.write_bytes(os.urandom(5000)), None),
        (lambda path: path.write_bytes(raw_file(raw_entry(b"\xff"))), "bad_key"),
        (lambda path: path.write_bytes(raw_file(raw_entry(b"x", length=-25))), "corrupt"),
        (os.mkfifo, None),
        (Path.mkdir, None),
        (lambda path: path.symlink_to("counter_1.db"), None),
    ],
)
def test_bad_input_costs_itself(tmp_path: Path, make: Callable[[Path], object], reason: str | None) -> None:
    write(tmp_path / "counter_1.db", {counter("a"): 1.0})
    make(tmp_path / "counter_2.db")
    write(tmp_path / "counter_3.db", {counter("a"): 2.0})
    engine = engine_on(tmp_path)
    for _ in range(2):
        assert sums(engine) == {"a_total": 3.0}
    if reason:
        assert +engine.errors == {reason: 1}


def test_same_file_set_with_other_plans_follows_them(watched: Watched) -> None:
    watched.living = {1}
    write(watched.directory / "counter_1.db", {counter("a"): 1.0})
    files = watched.look()
    engine = Engine(lambda: files)
    assert sums(engine) == {"a_total": 1.0}
    files = replace(files, files={})
    assert sums(engine) == {"a_total": 1.0}  # it went, and its sums stay


def test_help_with_a_summary_of_a_process(tmp_path: Path) -> None:
    write(tmp_path / "summary_1.db", {sample_key("s", "s_count", {}): 2.0, total("s"): 3.0})
    assert facts(collect(engine_on(tmp_path))) == {
        ("s", "summary", "Some help."): {("s_count", ()): 2.0, ("s_sum", ()): 3.0}
    }


def test_what_comes_when_another_goes_is_not_swallowed(tmp_path: Path) -> None:
    for kind, key in (("counter", counter("a")), ("gauge_max", gauge("g"))):
        write(tmp_path / f"{kind}_1.db", {key: 10.0})
        write(tmp_path / f"{kind}_2.db", {key: 5.0})
    engine = engine_on(tmp_path)
    engine.update()
    for kind, key in (("counter", counter("a")), ("gauge_max", gauge("g"))):
        (tmp_path / f"{kind}_1.db").unlink()
        write(tmp_path / f"{kind}_2.db", {key: 6.0})
        write(tmp_path / f"{kind}_3.db", {key: 7.0})
    engine.update()
    assert numbers(engine.snapshot) == [10.0 + 6.0 + 7.0, 7.0]


def test_one_process_with_two_helps_for_a_metric(tmp_path: Path) -> None:
    for kind, sample, labels in (
        ("counter", "a_total", {}),
        ("summary", "a_sum", {}),
        ("gauge_max", "a", {}),
        ("histogram", "a_bucket", {"le": "+Inf"}),
    ):
        keys = [sample_key(kind, sample.replace("a", kind, 1), labels, text) for text in ("One.", "Two.")]
        write(tmp_path / f"{kind}_1.db", dict(zip(keys, (100.0, 1.0), strict=True)))
    ours = values(collect(engine_on(tmp_path)))
    stock = values(MultiProcessCollector(None, str(tmp_path)).collect())
    assert stock.items() <= ours.items()
    assert set(stock.values()) == {101.0, 100.0}


@pytest.mark.parametrize("stamp", [math.inf, math.nan, 1e300])
def test_a_stamp_that_is_no_time_is_no_last_one(tmp_path: Path, stamp: float) -> None:
    write(tmp_path / "gauge_mostrecent_1.db", {gauge("a"): (1.0, 5.0), gauge("b"): (2.0, stamp)})
    engine = engine_on(tmp_path)
    engine.update()
    assert engine.last_stamp == 5.0


# --- what must not happen, whatever dies, breaks, comes or comes back


def test_growth_of_a_writer_that_goes_on_is_not_swallowed_when_another_file_went(watched: Watched) -> None:
    """10 of a dead writer's, on which a new process goes on: 10, 13, 14; beside 5 of another, which went."""
    watched.living = {3}
    a = write(watched.directory / "counter_1.db", {counter("a"): 10.0})
    b = write(watched.directory / "counter_2.db", {counter("a"): 5.0})
    write(watched.directory / "counter_3.db", {counter("a"): 0.0})
    engine = Engine(watched.look)
    assert sums(engine) == {"a_total": 15.0}
    b.unlink()
    assert sums(engine) == {"a_total": 15.0}
    watched.living = {1, 3}
    write(a, {counter("a"): 13.0})
    assert sums(engine) == {"a_total": 18.0}
    write(a, {counter("a"): 14.0})
    assert sums(engine) == {"a_total": 19.0}


def test_a_file_made_anew_by_a_process_with_a_dead_ones_pid_is_another(watched: Watched) -> None:
    watched.living = {2}
    path = write(watched.directory / "counter_1.db", {counter("a"): 10.0})
    write(watched.directory / "counter_2.db", {counter("a"): 1.0})
    engine = Engine(watched.look)
    assert sums(engine) == {"a_total": 11.0}
    watched.living = {1, 2}
    path.write_bytes(
        raw_file(raw_entry(counter("a").encode(), 2.0))
    )  # the same inode, as some file systems do it
    assert sums(engine) == {"a_total": 13.0}
    write(path, {counter("a"): 12.0})
    assert sums(engine) == {"a_total": 23.0}


def test_a_family_is_inherited_when_its_owner_goes(tmp_path: Path) -> None:
    write(tmp_path / "counter_1.db", {counter("a"): 1.0})
    owner = write(tmp_path / "gauge_max_1.db", {gauge("b"): 2.0})
    engine = engine_on(tmp_path)
    assert sums(engine) == {"a_total": 1.0, "b": 2.0}
    heir = write(tmp_path / "gauge_min_1.db", {gauge("b"): 3.0})
    assert sums(engine) == {"a_total": 1.0, "b": 2.0}
    assert list(engine.left_out) == ["gauge_min_1.db"]
    owner.unlink()
    assert sums(engine) == {"a_total": 1.0, "b": 3.0}
    assert engine.left_out == {}
    write(owner, {gauge("b"): 4.0})
    heir.unlink()
    assert sums(engine) == {"a_total": 1.0, "b": 4.0}


def test_a_series_that_comes_lays_out_its_family_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [
        write(tmp_path / f"counter_{pid}.db", {counter(name, pid=str(pid)): 1.0 for name in "abc"})
        for pid in (1, 2)
    ]
    engine = engine_on(tmp_path)
    engine.update()
    before = engine.snapshot
    layouts: list[str] = []
    renew = blocks.Layout.renew

    def noted(self: blocks.Layout, *args: Any) -> None:
        layouts.append(self._family.name)
        renew(self, *args)

    monkeypatch.setattr(blocks.Layout, "renew", noted)
    write(paths[0], {counter("b", pid="new"): 7.0})
    engine.update()
    assert sum(numbers(engine.snapshot)) == 13.0
    assert layouts == ["b"]
    assert [one.samples is other.samples for one, other in zip(before, engine.snapshot, strict=True)] == [
        True,
        False,
        True,
    ]


def test_files_that_are_read_once_take_no_room_among_those_that_stay_open(watched: Watched) -> None:
    for pid in range(1, 41):
        write(watched.directory / f"counter_{pid}.db", {counter("a"): 1.0})
    watched.living = {40}
    engine = Engine(watched.look)
    engine._most_open = 2
    gc.collect()  # what other tests dropped must not be closed in between
    before = descriptors()
    engine.update()
    assert sums(engine) == {"a_total": 40.0}
    assert descriptors() == before + 1


def test_ten_thousand_refused_files_hold_no_descriptor_nor_grow(tmp_path: Path) -> None:
    write(tmp_path / "counter_1.db", {counter("a"): 1.0})
    for pid in range(2, 1002):
        (tmp_path / f"counter_{pid}.db").write_bytes(b"abc")
    gc.collect()  # what other tests dropped must not be closed in between
    before = descriptors()
    engine = engine_on(tmp_path)
    for _ in range(3):
        assert sums(engine) == {"a_total": 1.0}
    assert len(engine.refused) == 1000
    assert engine.errors["truncated"] == 1000
    assert descriptors() == before + 1
    engine._start_anew()
    assert descriptors() == before


def test_a_bad_file_costs_nothing_however_often_it_is_scraped(tmp_path: Path) -> None:
    path = write(tmp_path / "counter_1.db", {counter("a"): 1.0})
    broken = write(tmp_path / "counter_2.db", {counter("a"): 1.0})
    for pid in range(3, 8):
        (tmp_path / f"counter_{pid}.db").write_bytes(b"abc")
    (tmp_path / "gauge_max_8.db").write_bytes(raw_file(raw_entry(b"x", length=-25)))
    write(tmp_path / "gauge_max_9.db", {"nonsense": 1.0, gauge("a"): 1.0})
    engine = engine_on(tmp_path)
    sums(engine)
    os.truncate(broken, 20)

    def live(rounds: int) -> int:
        for value in range(rounds):
            write(path, {counter("a"): float(value)})
            assert sums(engine)["a_total"] == value + 1.0
        gc.collect()
        return len(gc.get_objects())

    early = live(50)
    assert live(500) <= early + 50


def test_files_that_come_and_go_leave_nothing_behind(watched: Watched) -> None:
    write(watched.directory / "counter_1.db", {counter("a"): 1.0})
    watched.living = {1}
    engine = Engine(watched.look, clock=Clock())

    def live(rounds: int, first_pid: int) -> int:
        for pid in range(first_pid, first_pid + rounds):
            watched.living = {1, pid}
            paths = [
                write(
                    watched.directory / f"{kind}_{pid}.db",
                    {counter("a") if kind == "counter" else gauge(kind): 1.0},
                )
                for kind in ("counter", "gauge_all", "gauge_liveall", "gauge_mostrecent", "gauge_sum")
            ]
            sums(engine)
            if pid % 2:
                watched.living = {1}
                sums(engine)
            for path in paths:
                path.unlink()
            assert sums(engine) == {"a_total": pid - 8.0}
        gc.collect()
        return len(gc.get_objects())

    early = live(20, 10)
    assert live(200, 30) <= early + 50
    assert watched.files.removed == 5 * 220


def test_what_goes_leaves_no_reference_cycles(watched: Watched) -> None:
    keys = {
        "counter": counter("a"),
        "histogram": bucket("h", "0.5"),
        "gauge_all": gauge("g"),
        "gauge_max": gauge("m"),
    }

    def write_files(pid: int) -> None:
        for kind, key in keys.items():
            write(watched.directory / f"{kind}_{pid}.db", {key: 1.0})

    def remove_files(pid: int) -> None:
        for kind in keys:
            (watched.directory / f"{kind}_{pid}.db").unlink()

    for pid in (1, 2, 3):
        write_files(pid)
    watched.living = {1, 2, 3}
    engine = Engine(watched.look, clock=Clock())
    engine.update()
    gc.collect()
    gc.disable()
    try:
        watched.living = {1, 2}
        engine.update()  # process 3 has died: its files are followed for a while,
        engine.update()  # and are constants then
        remove_files(2)
        engine.update()
        remove_files(1)
        remove_files(3)
        engine.update()
        assert watched.files.epoch == 1
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_what_fails_unexpectedly_leaves_nothing_half_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pid in (1, 2):
        write(tmp_path / f"counter_{pid}.db", {counter("a"): 1.0})
    engine = engine_on(tmp_path)
    sums(engine)
    with monkeypatch.context() as context:
        context.setattr(blocks, "_block", lambda *_: 1 / 0)
        write(tmp_path / "counter_2.db", {counter("a"): 2.0, counter("b"): 1.0})
        with pytest.raises(ZeroDivisionError):
            engine.update()
        assert engine.progress is not None
    assert sums(engine) == {"a_total": 3.0, "b_total": 1.0}


def test_the_first_read_tells_how_far_it_is(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    watched.living = {1}
    for pid in range(1, 6):
        write(watched.directory / f"counter_{pid}.db", {counter("a"): 1.0})
    engine = Engine(watched.look)
    assert engine.progress == (0, 0)
    seen = []
    read = dbfile.read_once

    def noted(*args: Any, **options: Any) -> Any:
        seen.append(engine.progress)
        return read(*args, **options)

    monkeypatch.setattr(kind_engine, "read_once", noted)
    assert sums(engine) == {"a_total": 5.0}
    assert seen == [(0, 5), (1, 5), (2, 5), (3, 5)]
    assert engine.progress is None


def test_any_name_that_stock_reads_counts(tmp_path: Path) -> None:
    for name in ("counter_rust-5027.db", "counter_my worker.db", "counter_a_b.db", "counter_.db"):
        write(tmp_path / name, {counter("a"): 1.0})
    for name in ("gauge_all_rust-5027.db", "gauge_all_some_name.db"):
        write(tmp_path / name, {gauge("g"): 1.0})
    stock = values(MultiProcessCollector(None, str(tmp_path)).collect())
    assert values(collect(engine_on(tmp_path))) == stock
    assert stock["a_total", ()] == 4.0


def test_more_files_than_may_be_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (20, 20))
    for pid in range(1, 31):
        write(tmp_path / f"counter_{pid}.db", {counter("a"): 1.0})
    before = descriptors()
    engine = engine_on(tmp_path)
    for value in (1.0, 2.0):
        write(tmp_path / "counter_30.db", {counter("a"): value})
        assert sums(engine) == {"a_total": 29.0 + value}
        assert descriptors() <= before + 10


def test_one_worker_may_have_so_many_series_of_all_kinds_together(tmp_path: Path) -> None:
    write(tmp_path / "counter_7.db", {counter("a", n=str(number)): 1.0 for number in range(3)})
    write(tmp_path / "gauge_all_7.db", {gauge("b", n=str(number)): 1.0 for number in range(3)})
    files = FileSet(str(tmp_path))
    engine = Engine(lambda: decide(files, list_directory(str(tmp_path)), None, Liveness.OFF), max_series=4)
    assert engine.errors["too_many_series"] == 0
    engine.update()
    assert sum(len(block) for one in engine.snapshot for block in one.values) == 4
    assert engine.errors["too_many_series"] == 2
    assert [fault.reason for fault in engine.left_out.values()] == ["too_many_series"]
