import math
import os
import struct
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from exporter.multiproc.collector import IncrementalCollector
from exporter.multiproc.dbfile import DbFile
from exporter.multiproc.fileset import FileSet, Liveness, decide, list_directory
from exporter.multiproc.processes import Process
from tests.support.compare import facts, values
from tests.support.files import bucket, counter, gauge, process, raw_entry, raw_file, sample_key, total, write


class Watched:
    """A directory whose processes live and die as a test says."""

    def __init__(self, directory: Path, liveness: Liveness = Liveness.ON) -> None:
        self.directory = directory
        self.living: set[int] = set()
        self.files = FileSet(str(directory))
        self._liveness = liveness

    def look(self, moved: set[str] | None = None) -> FileSet:
        listing = list_directory(str(self.directory))
        self.files = decide(self.files, listing, self._find, self._liveness, moved or ())
        return self.files

    def _find(self, pid: str) -> Process | None:
        return Process(pid, 1, 0.0) if int(pid) in self.living else None


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def sums(collector: IncrementalCollector) -> dict[str, float | str]:
    """Return the samples by name, of metrics without labels."""
    return {name: value for (name, _), value in values(collector.collect()).items()}


def test_it_is_a_multi_process_collector_of_a_registry(tmp_path: Path) -> None:
    with process(tmp_path, 1) as registry:
        Counter("c", "A counter.", registry=registry).inc(3)
    registry = CollectorRegistry()
    collector = IncrementalCollector(registry, str(tmp_path))
    assert isinstance(collector, MultiProcessCollector)
    assert generate_latest(registry) == b"# HELP c_total A counter.\n# TYPE c_total counter\nc_total 3.0\n"


def test_no_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    for path in (None, str(tmp_path / "nowhere")):
        with pytest.raises(ValueError, match="PROMETHEUS_MULTIPROC_DIR"):
            IncrementalCollector(None, path)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    assert list(IncrementalCollector(None).collect()) == []


def test_as_a_process_goes_on(tmp_path: Path) -> None:
    collector = IncrementalCollector(None, str(tmp_path))
    with process(tmp_path, 1) as registry:
        requests = Counter("requests", "Requests.", ["route"], registry=registry)
        load = Gauge("load", "Load.", registry=registry, multiprocess_mode="mostrecent")
        size = Histogram("size", "Size.", buckets=[1, 2], registry=registry)
        wait = Summary("wait", "Wait.", registry=registry)
        for number in range(5):
            requests.labels(f"/{number}").inc()
            requests.labels("/0").inc(number)
            load.set(number)
            size.observe(number)
            wait.observe(number)
            assert facts(collector.collect()) == facts(MultiProcessCollector(None, str(tmp_path)).collect())
    assert collector.observed_change
    collector.update()
    assert not collector.observed_change


def test_added_labels_and_processes_told_apart(tmp_path: Path) -> None:
    for pid in (1, 2):
        write(tmp_path / f"counter_{pid}.db", {counter("a", worker="theirs"): float(pid)})
    collector = IncrementalCollector(None, str(tmp_path), labels=[("worker", "ours")], per_process=True)
    assert values(collector.collect()) == {
        ("a_total", (("exported_worker", "theirs"), ("pid", "1"), ("worker", "ours"))): 1.0,
        ("a_total", (("exported_worker", "theirs"), ("pid", "2"), ("worker", "ours"))): 2.0,
    }


def test_a_bad_file_costs_itself_until_it_is_good(tmp_path: Path) -> None:
    write(tmp_path / "counter_1.db", {counter("a"): 1.0})
    (tmp_path / "counter_2.db").write_bytes(b"abc")
    collector = IncrementalCollector(None, str(tmp_path))
    for _ in range(3):
        assert sums(collector) == {"a_total": 1.0}
    assert collector.errors == {"truncated": 1}
    assert str(collector.problems["counter_2.db"]) == "is 3 bytes, less than its 8-byte header"
    (tmp_path / "counter_2.db").write_bytes(raw_file(raw_entry(counter("a").encode(), 5.0)))
    assert sums(collector) == {"a_total": 6.0}
    assert collector.problems == {}


def test_a_bad_file_is_forgotten_once_it_is_gone(tmp_path: Path) -> None:
    write(tmp_path / "counter_1.db", {counter("a"): 1.0})
    (tmp_path / "counter_2.db").write_bytes(b"abc")
    (tmp_path / "counter_3.db").write_bytes(b"defg")
    collector = IncrementalCollector(None, str(tmp_path))
    collector.update()
    (tmp_path / "counter_2.db").unlink()
    collector.update()
    assert list(collector.problems) == ["counter_3.db"]
    assert collector.errors == {"truncated": 2}


def test_a_bad_sample_costs_itself(tmp_path: Path) -> None:
    path = write(
        tmp_path / "counter_1.db", {counter("a"): 1.0, "nonsense": 2.0, counter("b"): 3.0, "[]": 4.0}
    )
    collector = IncrementalCollector(None, str(tmp_path))
    for value in (1.0, 2.0, 3.0):
        write(path, {counter("a"): value})
        assert sums(collector) == {"a_total": value, "b_total": 3.0}
        assert collector.errors == {"bad_key": 2}
        assert str(collector.problems["counter_1.db"]).startswith("2 of its samples left out: ")
    write(path, {"more nonsense": 1.0})
    assert sums(collector) == {"a_total": 3.0, "b_total": 3.0}
    assert collector.errors == {"bad_key": 3}
    assert str(collector.problems["counter_1.db"]).startswith("3 of its samples left out: ")


def test_errors_are_counted_once_though_files_come_and_go(tmp_path: Path) -> None:
    write(tmp_path / "counter_1.db", {"nonsense": 2.0, counter("a"): 1.0})
    (tmp_path / "counter_2.db").write_bytes(b"abc")
    write(tmp_path / "counter_3.db", {counter("a"): 1.0})
    collector = IncrementalCollector(None, str(tmp_path))
    collector.update()
    errors, problems = dict(collector.errors), set(map(str, collector.problems.values()))
    (tmp_path / "counter_3.db").unlink()
    collector.update()
    assert dict(collector.errors) == errors == {"bad_key": 1, "truncated": 1}
    assert set(map(str, collector.problems.values())) == problems


def test_a_family_with_two_types_keeps_the_first(tmp_path: Path) -> None:
    write(tmp_path / "counter_1.db", {counter("a"): 1.0})
    write(tmp_path / "gauge_max_1.db", {gauge("a"): 2.0, gauge("b"): 3.0})
    collector = IncrementalCollector(None, str(tmp_path))
    assert sums(collector) == {"a_total": 1.0, "b": 3.0}
    assert collector.errors == {"type_conflict": 1}
    assert "gauge_max_1.db" in collector.problems


def test_the_same_series_in_other_words_is_one_series(tmp_path: Path) -> None:
    keys = (counter("a", x="1", y="2"), '["a","a_total",{"y":"2","x":"1"},"Other help."]')
    for pid, key in enumerate(keys, 1):
        write(tmp_path / f"counter_{pid}.db", {key: 1.0})
    assert list(values(IncrementalCollector(None, str(tmp_path)).collect()).values()) == [2.0]


def test_the_same_key_twice_in_a_file(tmp_path: Path) -> None:
    key = counter("a").encode()
    (tmp_path / "counter_1.db").write_bytes(raw_file(raw_entry(key, 1.0), raw_entry(key, 2.0)))
    assert len(values(IncrementalCollector(None, str(tmp_path)).collect())) == 1


@pytest.mark.parametrize("missing", range(4))
def test_a_histogram_that_lacks_an_entry_is_still_whole(tmp_path: Path, missing: int) -> None:
    keys = [total("h"), bucket("h", "1.0"), bucket("h", "2.0"), bucket("h", "+Inf")]
    del keys[missing]
    write(tmp_path / "histogram_1.db", dict.fromkeys(keys, 1.0))
    got = sums_of_histogram(IncrementalCollector(None, str(tmp_path)))
    assert got["+Inf"] == got["count"] == (3.0 if missing == 0 else 2.0)
    assert got["sum"] == (0.0 if missing == 0 else 1.0)


def sums_of_histogram(collector: IncrementalCollector) -> dict[str, float | str]:
    """Return a histogram's buckets by bound, its sum and its count."""
    found = values(collector.collect())
    return {
        dict(labels).get("le") or name.rpartition("_")[2]: value for (name, labels), value in found.items()
    }


def test_a_histogram_seen_while_it_is_set_up(tmp_path: Path) -> None:
    path = tmp_path / "histogram_1.db"
    collector = IncrementalCollector(None, str(tmp_path))
    write(path, {total("h"): 0.0})
    assert sums_of_histogram(collector) == {"+Inf": 0.0, "sum": 0.0, "count": 0.0}
    write(path, {bucket("h", "1.0"): 2.0})
    assert sums_of_histogram(collector) == {"1.0": 2.0, "+Inf": 2.0, "sum": 0.0, "count": 2.0}
    write(path, {bucket("h", "+Inf"): 3.0, total("h"): 9.0})
    assert sums_of_histogram(collector) == {"1.0": 2.0, "+Inf": 5.0, "sum": 9.0, "count": 5.0}


# --- what a file loses stays in the sums


def test_sums_keep_what_a_truncated_file_had(tmp_path: Path) -> None:
    write(tmp_path / "counter_1.db", {counter("a"): 1.0, counter("b"): 2.0})
    write(tmp_path / "counter_2.db", {counter("a"): 10.0, counter("b"): 20.0})
    collector = IncrementalCollector(None, str(tmp_path))
    assert sums(collector) == {"a_total": 11.0, "b_total": 22.0}
    os.truncate(tmp_path / "counter_1.db", 3)
    assert sums(collector) == {"a_total": 11.0, "b_total": 22.0}
    assert list(collector.problems) == ["counter_1.db"]
    write(tmp_path / "counter_2.db", {counter("b"): 25.0})
    assert sums(collector) == {"a_total": 11.0, "b_total": 27.0}


def test_gauges_of_a_truncated_file_go(tmp_path: Path) -> None:
    for pid in (1, 2):
        write(tmp_path / f"gauge_sum_{pid}.db", {gauge("a"): float(pid)})
    collector = IncrementalCollector(None, str(tmp_path))
    assert sums(collector) == {"a": 3.0}
    os.truncate(tmp_path / "gauge_sum_1.db", 3)
    assert sums(collector) == {"a": 2.0}


def test_a_file_rewritten_with_other_keys(tmp_path: Path) -> None:
    path = write(tmp_path / "counter_1.db", {counter("a"): 1.0, counter("b"): 2.0})
    collector = IncrementalCollector(None, str(tmp_path))
    assert sums(collector) == {"a_total": 1.0, "b_total": 2.0}
    path.write_bytes(raw_file(*(raw_entry(counter(name).encode(), 9.0) for name in "cd")))
    os.utime(path, (2e9, 2e9))
    assert sums(collector) == {"a_total": 1.0, "b_total": 2.0, "c_total": 9.0, "d_total": 9.0}


def test_sums_stay_when_some_files_go(tmp_path: Path) -> None:
    for pid in (1, 2):
        write(tmp_path / f"counter_{pid}.db", {counter("a"): 10.0 * pid, counter(f"only_{pid}"): 1.0})
        write(tmp_path / f"gauge_sum_{pid}.db", {gauge("g"): 1.0})
        write(
            tmp_path / f"histogram_{pid}.db",
            {total("h"): 1.0, bucket("h", f"{pid}.0"): 1.0, bucket("h", "+Inf"): 2.0},
        )
    collector = IncrementalCollector(None, str(tmp_path))
    before = values(collector.collect())
    for name in ("counter_1.db", "gauge_sum_1.db", "histogram_1.db"):
        (tmp_path / name).unlink()
    after = values(collector.collect())
    assert after == before | {("g", ()): 1.0}
    write(tmp_path / "counter_2.db", {counter("a"): 21.0})
    assert values(collector.collect()) == after | {("a_total", ()): 31.0}


def test_a_new_worker_starts_anew(tmp_path: Path) -> None:
    for pid in (1, 2):
        write(tmp_path / f"counter_{pid}.db", {counter("a"): 10.0})
    collector = IncrementalCollector(None, file_set=(watched := Watched(tmp_path, Liveness.OFF)).look)
    assert sums(collector) == {"a_total": 20.0}
    for path in tmp_path.iterdir():
        path.unlink()
    assert sums(collector) == {}
    write(tmp_path / "counter_1.db", {counter("a"): 1.0})
    assert sums(collector) == {"a_total": 1.0}
    assert watched.files.epoch == 1


def test_a_file_that_goes_before_the_next_look(tmp_path: Path) -> None:
    watched = Watched(tmp_path, Liveness.OFF)
    for pid in (1, 2):
        write(tmp_path / f"counter_{pid}.db", {counter("a"): 10.0})
    collector = IncrementalCollector(None, file_set=lambda: watched.files)
    watched.look()
    (tmp_path / "counter_1.db").unlink()
    assert sums(collector) == {"a_total": 10.0}
    assert collector.errors == {}
    watched.look()
    assert sums(collector) == {"a_total": 10.0}


# --- the living and the dead


def test_live_gauges_are_of_the_living(watched: Watched) -> None:
    watched.living = {1, 2}
    for pid in (1, 2):
        for mode in ("sum", "livesum", "liveall"):
            write(watched.directory / f"gauge_{mode}_{pid}.db", {gauge(mode): float(pid)})
    collector = IncrementalCollector(None, file_set=watched.look)
    assert values(collector.collect()) == {
        ("sum", ()): 3.0,
        ("livesum", ()): 3.0,
        ("liveall", (("pid", "1"),)): 1.0,
        ("liveall", (("pid", "2"),)): 2.0,
    }
    watched.living = {2}
    assert values(collector.collect()) == {
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
    collector = IncrementalCollector(None, file_set=watched.look, keep_gauges=keep_gauges)
    assert sums(collector) == {"a_total": 1.0, "g": 2.0}
    watched.living = set()
    for _ in range(3):
        assert sums(collector) == expected
    watched.living = {1}
    assert sums(collector) == {"a_total": 1.0, "g": 2.0}


def test_a_dead_writers_files_are_read_a_last_time_and_then_cost_nothing(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    read = DbFile.read

    def counted(file: DbFile) -> bool:
        reads.append(Path(file._path).name)
        return read(file)

    monkeypatch.setattr(DbFile, "read", counted)
    watched.living = {1, 2}
    for pid in (1, 2):
        write(watched.directory / f"counter_{pid}.db", {counter("a"): 1.0})
    collector = IncrementalCollector(None, file_set=watched.look)
    assert sums(collector) == {"a_total": 2.0}
    write(watched.directory / "counter_1.db", {counter("a"): 5.0})
    watched.living = {2}
    assert sums(collector) == {"a_total": 6.0}
    reads.clear()
    descriptors = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count is all that is needed
    for value in (2.0, 3.0):
        write(watched.directory / "counter_2.db", {counter("a"): value})
        assert sums(collector) == {"a_total": 5.0 + value}
    assert reads == ["counter_2.db"] * 2
    assert len(os.listdir("/proc/self/fd")) == descriptors  # noqa: PTH208


def test_writers_that_die_one_after_the_other(watched: Watched) -> None:
    watched.living = {1, 2, 3}
    for pid in (1, 2, 3):
        write(watched.directory / f"counter_{pid}.db", {counter("a"): float(pid), counter("b"): 1.0})
    collector = IncrementalCollector(None, file_set=watched.look)
    for living in ({1, 2, 3}, {2, 3}, {3}, {3, 4}, set()):
        watched.living = living
        assert sums(collector) == {"a_total": 6.0, "b_total": 3.0}


def test_a_new_writer_goes_on_with_a_dead_ones_file(watched: Watched) -> None:
    watched.living = {1, 2}
    for pid in (1, 2):
        write(watched.directory / f"counter_{pid}.db", {counter("a"): 1.0})
    collector = IncrementalCollector(None, file_set=watched.look)
    for living, value in (({2}, 2.0), ({1, 2}, 3.0), ({2}, 4.0), ({1, 2}, 5.0)):
        watched.living = living
        write(watched.directory / "counter_1.db", {counter("a"): value})
        assert sums(collector) == {"a_total": 1.0 + value}


def test_a_bad_file_of_a_dead_writer_is_read_once_it_is_good(watched: Watched) -> None:
    watched.living = {2}
    (watched.directory / "counter_1.db").write_bytes(b"abc")
    write(watched.directory / "counter_2.db", {counter("a"): 1.0})
    collector = IncrementalCollector(None, file_set=watched.look)
    assert sums(collector) == {"a_total": 1.0}
    (watched.directory / "counter_1.db").write_bytes(raw_file(raw_entry(counter("a").encode(), 5.0)))
    assert sums(collector) == {"a_total": 6.0}


def test_files_that_move_though_their_writer_is_dead_are_reported(tmp_path: Path) -> None:
    watched = Watched(tmp_path, Liveness.AUTO)
    path = write(tmp_path / "counter_1.db", {counter("a"): 1.0})
    write(tmp_path / "counter_2.db", {counter("a"): 1.0})
    collector = IncrementalCollector(None, file_set=lambda: watched.files)
    watched.look()
    assert sums(collector) == {"a_total": 2.0}
    assert collector.moved == set()  # the first read moves nothing
    write(path, {counter("a"): 2.0})
    assert sums(collector) == {"a_total": 3.0}
    assert collector.moved == {"1"}
    assert watched.look(collector.moved).foreign
    assert sums(collector) == {"a_total": 3.0}
    assert collector.moved == set()


def test_the_newest_stamp(tmp_path: Path) -> None:
    write(tmp_path / "gauge_mostrecent_1.db", {gauge("a"): (1.0, 100.0), gauge("b"): (2.0, 300.0)})
    write(tmp_path / "gauge_mostrecent_2.db", {gauge("a"): (1.0, 200.0), gauge("c"): (999.0, 0.0)})
    collector = IncrementalCollector(None, str(tmp_path))
    assert collector.last_stamp == 0.0
    collector.update()
    assert collector.last_stamp == 300.0
    write(tmp_path / "gauge_mostrecent_2.db", {gauge("a"): (1.0, 400.0)})
    collector.update()
    assert collector.last_stamp == 400.0


def test_a_directory_that_cannot_be_listed(tmp_path: Path) -> None:
    files = FileSet(str(tmp_path), problem="gone")
    collector = IncrementalCollector(None, file_set=lambda: files)
    assert list(collector.collect()) == []


def test_reserved_names_are_left_to_others(tmp_path: Path) -> None:
    write(tmp_path / "gauge_max_1.db", {gauge("up"): 1.0, gauge("down"): 1.0})
    collector = IncrementalCollector(None, str(tmp_path), reserved_names=["up"])
    assert sums(collector) == {"down": 1.0}
    assert collector.errors == {"name_conflict": 1}


def test_entries_that_are_no_files_of_ours_are_counted_when_they_come(tmp_path: Path) -> None:
    write(tmp_path / "counter_1.db", {counter("a"): 1.0})
    (tmp_path / "odd.db").touch()
    (tmp_path / "counter_2.db").mkdir()
    collector = IncrementalCollector(None, str(tmp_path))
    for number in range(3, 6):
        write(tmp_path / f"counter_{number}.db", {counter("a"): 1.0})
        collector.update()
        assert collector.errors == {"bad_name": 1, "not_regular": 1}
    (tmp_path / "odder.db").touch()
    collector.update()
    assert collector.errors == {"bad_name": 2, "not_regular": 1}


def test_the_largest_file_allowed(tmp_path: Path) -> None:
    write(tmp_path / "counter_1.db", {counter("a"): 1.0})
    for size, expected in ((2**16, {"a_total": 1.0}), (2**16 - 1, {})):
        assert sums(IncrementalCollector(None, str(tmp_path), max_file_size=size)) == expected


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
    collector = IncrementalCollector(None, str(tmp_path))
    for _ in range(2):
        assert sums(collector) == {"a_total": 3.0}
    if reason:
        assert collector.errors == {reason: 1}


def test_same_file_set_with_other_plans_follows_them(watched: Watched) -> None:
    watched.living = {1}
    write(watched.directory / "counter_1.db", {counter("a"): 1.0})
    files = watched.look()
    collector = IncrementalCollector(None, file_set=lambda: files)
    assert sums(collector) == {"a_total": 1.0}
    files = replace(files, files=())
    assert sums(collector) == {"a_total": 1.0}  # it went, and its sums stay


def test_help_with_a_summary_of_a_process(tmp_path: Path) -> None:
    write(tmp_path / "summary_1.db", {sample_key("s", "s_count", {}): 2.0, total("s"): 3.0})
    assert facts(IncrementalCollector(None, str(tmp_path)).collect()) == {
        ("s", "summary", "Some help."): {("s_count", ()): 2.0, ("s_sum", ()): 3.0}
    }


def test_what_comes_when_another_goes_is_not_swallowed(tmp_path: Path) -> None:
    for kind, key in (("counter", counter("a")), ("gauge_max", gauge("g"))):
        write(tmp_path / f"{kind}_1.db", {key: 10.0})
        write(tmp_path / f"{kind}_2.db", {key: 5.0})
    collector = IncrementalCollector(None, str(tmp_path))
    collector.update()
    for kind, key in (("counter", counter("a")), ("gauge_max", gauge("g"))):
        (tmp_path / f"{kind}_1.db").unlink()
        write(tmp_path / f"{kind}_2.db", {key: 6.0})
        write(tmp_path / f"{kind}_3.db", {key: 7.0})
    collector.update()
    assert list(chain.from_iterable(collector.snapshot.blocks)) == [10.0 + 6.0 + 7.0, 7.0]


def test_one_process_with_two_helps_for_a_metric(tmp_path: Path) -> None:
    for kind, sample, labels in (
        ("counter", "a_total", {}),
        ("summary", "a_sum", {}),
        ("gauge_max", "a", {}),
        ("histogram", "a_bucket", {"le": "+Inf"}),
    ):
        keys = [sample_key(kind, sample.replace("a", kind, 1), labels, text) for text in ("One.", "Two.")]
        write(tmp_path / f"{kind}_1.db", dict(zip(keys, (100.0, 1.0), strict=True)))
    ours = values(IncrementalCollector(None, str(tmp_path)).collect())
    stock = values(MultiProcessCollector(None, str(tmp_path)).collect())
    assert stock.items() <= ours.items()
    assert set(stock.values()) == {101.0, 100.0}


@pytest.mark.parametrize("stamp", [math.inf, math.nan, 1e300])
def test_a_stamp_that_is_no_time_is_no_last_one(tmp_path: Path, stamp: float) -> None:
    write(tmp_path / "gauge_mostrecent_1.db", {gauge("a"): (1.0, 5.0), gauge("b"): (2.0, stamp)})
    collector = IncrementalCollector(None, str(tmp_path))
    collector.update()
    assert collector.last_stamp == 5.0
