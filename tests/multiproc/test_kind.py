"""A kind alone: what its files are counted as. What all kinds say together is in test_engine.py."""

from collections import Counter
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest

from exporter.multiproc.dead_shares import LINGER
from exporter.multiproc.fileset import File, Plan
from exporter.multiproc.kind import Change, Findings, Kind
from exporter.multiproc.listing import Listed
from exporter.multiproc.liveness import State
from exporter.multiproc.metric_names import MetricNames
from exporter.multiproc.refusals import Refusals
from tests.support.files import counter, gauge, write


def dead(file: File) -> File:
    return replace(file, state=State.DEAD, plan=Plan.ONCE)


class Alone:
    """One kind of file in a directory."""

    def __init__(self, directory: Path, kind_name: str = "counter") -> None:
        self.directory = directory
        self.kind_name = kind_name
        self.now = 0.0
        self.refusals = Refusals(str(directory), lambda: self.now)
        self.errors: Counter[str] = Counter()
        self.findings = Findings(0.0, 0.0)
        self.kind = Kind(
            kind_name,
            str(directory),
            MetricNames(),
            self.refusals,
            self.errors,
            labels=(),
            per_process=False,
            max_file_size=2**20,
            scratch=bytearray(),
        )

    def write(self, writer: str, **values: float) -> File:
        make = counter if self.kind_name == "counter" else gauge
        path = write(
            self.directory / f"{self.kind_name}_{writer}.db",
            {make(name): (value, value) for name, value in values.items()},
        )
        info = path.stat()
        listed = Listed(path.name, info.st_dev, info.st_ino, self.kind_name, writer)
        return File(listed, State.LIVE, Plan.FOLLOW, None)

    def take(self, file: File, *, is_young: bool = False) -> File:
        self.kind.take(file, is_young=is_young, stays_open=True)
        return file

    def update(self) -> Change:
        self.findings = Findings(self.findings.last_stamp, self.now)
        self.kind.read(self.findings)
        return self.kind.arrange()

    def said(self) -> dict[str, float]:
        return {
            name: value
            for values in self.kind.values.values()
            for (name, _), value in zip(chain(*values.samples), chain(*values.values), strict=True)
        }


@pytest.fixture(name="alone")
def _alone(tmp_path: Path) -> Alone:
    return Alone(tmp_path)


def test_what_changed_is_told(alone: Alone) -> None:
    alone.take(alone.write("1", a=1.0))
    assert alone.update() is Change.FAMILIES
    assert not alone.findings.change, "the first read changes nothing"
    assert alone.update() is Change.NOTHING
    alone.write("1", a=2.0)
    assert alone.update() is Change.VALUES
    assert alone.findings.change
    alone.write("1", b=1.0)
    assert alone.update() is Change.FAMILIES
    assert alone.said() == {"a_total": 2.0, "b_total": 1.0}


def test_a_file_that_is_dropped_lets_go_of_everything_but_sums(alone: Alone, tmp_path: Path) -> None:
    alone.take(alone.write("1", a=1.0))
    alone.update()
    alone.kind.drop("counter_1.db")
    alone.update()
    assert alone.said() == {"a_total": 1.0}
    gauges = Alone(tmp_path, "gauge_max")
    gauges.take(gauges.write("1", a=1.0))
    gauges.update()
    gauges.kind.drop("gauge_max_1.db")
    assert gauges.update() is Change.FAMILIES
    assert gauges.said() == {}
    assert (gauges.kind.followed, gauges.kind.values) == (0, {})


def test_a_dead_writers_file_is_followed_no_more(alone: Alone) -> None:
    live = alone.take(alone.write("1", a=1.0))
    alone.update()
    alone.write("1", a=2.0)
    alone.take(dead(live))
    alone.update()
    assert (alone.said(), alone.kind.followed) == ({"a_total": 2.0}, 1)
    alone.now += LINGER
    assert alone.update() is Change.FAMILIES
    assert (alone.said(), alone.kind.followed) == ({"a_total": 2.0}, 0)
    alone.take(live)
    alone.write("1", a=3.0)
    alone.update()
    assert (alone.said(), alone.kind.followed) == ({"a_total": 3.0}, 1)


@pytest.mark.parametrize("is_young", [False, True])
def test_a_young_file_of_a_dead_writer_is_followed_for_a_while(alone: Alone, *, is_young: bool) -> None:
    alone.take(dead(alone.write("1", a=1.0)), is_young=is_young)
    alone.update()
    assert (alone.said(), alone.kind.followed) == ({"a_total": 1.0}, is_young)
    alone.write("1", a=2.0)
    alone.update()
    assert alone.said() == {"a_total": 2.0 if is_young else 1.0}
    alone.now += LINGER
    alone.update()
    assert alone.kind.followed == 0


def test_a_writer_that_dies_before_anybody_sees_it_counts_if_it_comes_soon(alone: Alone) -> None:
    live = alone.take(alone.write("1", a=1.0))
    alone.update()
    alone.take(dead(live))
    for value in range(5):
        alone.write("1", a=float(value))
        alone.update()
        assert (alone.said(), alone.kind.followed) == ({"a_total": float(value)}, 1)
        alone.now += 0.9 * LINGER
    alone.now += LINGER
    alone.update()
    assert alone.kind.followed == 0


def test_a_dead_writers_file_is_read_again_when_it_is_to_be_taken_again(alone: Alone) -> None:
    file = alone.take(dead(alone.write("1", a=1.0)))
    alone.update()
    alone.write("1", a=5.0)
    alone.update()
    assert alone.said() == {"a_total": 1.0}, "nobody says that somebody wrote"
    alone.take(file)
    alone.update()
    assert (alone.said(), alone.kind.followed) == ({"a_total": 5.0}, 0)


def test_files_that_move_though_their_writer_is_dead_are_told(alone: Alone) -> None:
    alone.take(replace(alone.write("7", a=1.0), state=State.DEAD))
    for _ in range(2):
        alone.update()
        assert not alone.findings.moved
    alone.write("7", a=2.0)
    alone.update()
    assert alone.findings.moved == {"7"}


def test_a_refused_file_is_read_again_when_it_is_its_turn(alone: Alone) -> None:
    file = alone.take(alone.write("1", a=1.0))
    (alone.directory / file.name).write_bytes(b"abc")
    alone.update()
    assert list(alone.refusals.faults) == [file.name]
    assert alone.findings.news
    alone.write("2", a=1.0)
    (alone.directory / file.name).write_bytes((alone.directory / "counter_2.db").read_bytes())
    alone.update()
    assert alone.said() == {}, "not yet"
    alone.kind.retry(file, None, alone.findings)
    alone.kind.arrange()
    assert alone.said() == {"a_total": 1.0}
    assert alone.refusals.faults == {}
    alone.write("1", a=2.0)
    alone.update()
    assert alone.said() == {"a_total": 2.0}


def test_the_newest_stamp(tmp_path: Path) -> None:
    it = Alone(tmp_path, "gauge_mostrecent")
    it.take(it.write("1", a=5.0, b=1e300))
    it.update()
    assert it.findings.last_stamp == 5.0, "what lies far ahead is no time"
    it.write("1", a=7.0)
    it.update()
    assert it.findings.last_stamp == 7.0
    it.update()
    assert it.findings.last_stamp == 7.0


def test_what_is_left_out_of_a_file_is_told(alone: Alone) -> None:
    write(alone.directory / "counter_1.db", {"nonsense": 1.0, "[]": 1.0})
    file = alone.take(alone.write("1", a=1.0))
    alone.update()
    assert alone.kind.left_out[file.name].text.startswith("2 of its samples left out: a key is not [family")
    assert alone.errors == {"bad_key": 2}
    alone.kind.drop(file.name)
    assert alone.kind.left_out == {}
