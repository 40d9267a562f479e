import math
from collections import Counter

import pytest

from exporter.multiproc.budget import TOO_MANY, Budget
from exporter.multiproc.dbfile import Contents
from exporter.multiproc.families import Families
from exporter.multiproc.keys import SUM
from exporter.multiproc.metric_names import MetricNames
from exporter.multiproc.placement import Placement
from tests.support.files import bucket, contents, counter, gauge, sample_key, total

INF = math.inf


class Kind:
    """The families of one kind, and what their engine would do with them."""

    def __init__(
        self,
        kind: str = "counter",
        names: MetricNames | None = None,
        *labels: tuple[str, str],
        per_process: bool = False,
        most: int = 1000,
    ) -> None:
        self.errors: Counter[str] = Counter()
        self.names = names or MetricNames()
        self.budget = Budget(most)
        self.families = Families(
            kind, self.names, self.errors, labels=labels, per_process=per_process, budget=self.budget
        )

    def slot(self, *keys: str, pid: str = "7", file: Contents | None = None) -> Placement:
        """Place a file of a dead writer that has these keys."""
        file = file or contents(*keys)
        placement = self.families.placement_of(file.shape, file.keys(), pid)
        placement.dead += 1
        return placement

    def let_go(self, placement: Placement) -> None:
        placement.dead -= 1
        self.families.release(placement)


def labels_of(placement: Placement) -> list[dict[str, str]]:
    return [dict(series.labels) for series in placement.series if series]


def test_where_entries_belong() -> None:
    kind = Kind("histogram")
    placement = kind.slot(total("a"), bucket("a", "1.0"), bucket("b", "+Inf"), bucket("a", "+Inf"))
    assert placement.columns == [SUM, 1.0, INF, INF]
    assert [series.name for series in placement.series if series] == ["a", "a", "b", "a"]
    assert {family.name: cells for family, cells in placement.families.items()} == {"a": [0, 1, 3], "b": [2]}


def test_a_histogram_caught_half_written_has_all_it_needs() -> None:
    (series,) = Kind("histogram").slot(bucket("a", "0.5")).series
    assert series
    assert series.columns == (SUM, 0.5, INF)


def test_the_first_help_stays() -> None:
    kind = Kind()
    for text in ("First.", "Second."):
        placement = kind.slot(sample_key("a", "a_total", {}, text))
    assert [family.help for family in placement.families] == ["First."]


def test_files_with_the_same_keys_share_a_placement() -> None:
    kind, file = Kind(), contents(counter("a"), counter("b"))
    assert kind.slot(file=file) is kind.slot(file=file, pid="8")
    assert kind.slot(counter("a"), counter("b")) is not kind.slot(file=file)


def test_keys_are_read_once_for_all_files_that_are_read_together(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = Kind()
    first = kind.slot(counter("a"), counter("b"))
    monkeypatch.setattr("exporter.multiproc.families.read_key", lambda *_: pytest.fail("read again"))
    assert kind.slot(counter("b"), counter("a")).series == first.series[::-1]
    kind.families.forget_slots()
    with pytest.raises(pytest.fail.Exception):
        kind.slot(counter("a"))


def test_only_so_many_keys_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.multiproc.families._MOST_SLOTS", 10)
    kind = Kind()
    kind.slot(*(counter("a", number=str(number)) for number in range(100)))
    assert len(kind.families._slots) == 10


@pytest.mark.parametrize(
    ("kind", "per_process", "expected"),
    [
        ("gauge_all", False, {"pid": "7", "exported_pid": "theirs"}),
        ("gauge_liveall", False, {"pid": "7", "exported_pid": "theirs"}),
        ("gauge_max", False, {}),
        ("gauge_mostrecent", False, {}),
        ("gauge_livesum", False, {}),
        ("gauge_max", True, {"pid": "7", "exported_pid": "theirs"}),
        ("counter", False, {"pid": "theirs"}),
        ("counter", True, {"pid": "7", "exported_pid": "theirs"}),
    ],
)
def test_pid(kind: str, expected: dict[str, str], *, per_process: bool) -> None:
    key = counter("a", pid="theirs") if kind == "counter" else gauge("a", pid="theirs")
    assert labels_of(Kind(kind, per_process=per_process).slot(key)) == [expected]


def test_processes_share_a_series_unless_they_are_told_apart() -> None:
    file = contents(counter("a"))
    for per_process, count in ((False, 1), (True, 2)):
        kind = Kind(per_process=per_process)
        assert len({kind.slot(pid=pid, file=file).series[0] for pid in "78"}) == count


def test_labels_are_added() -> None:
    kind = Kind("counter", None, ("worker_addr", "w"))
    assert labels_of(kind.slot(counter("a", x="1"))) == [{"x": "1", "worker_addr": "w"}]


def test_what_is_left_out_is_told_and_counted_for_each_file() -> None:
    names = MetricNames(["up"])
    kind = Kind("gauge_max", names)
    file = contents("nonsense", gauge("a"), gauge("up"), gauge("up", x="1"))
    for count in (1, 2):
        placement = kind.slot(file=file)
        assert [fault.reason for fault in kind.families.faults(placement)] == [
            "bad_key",
            "name_conflict",
            "name_conflict",
        ]
        assert kind.errors == {"bad_key": count, "name_conflict": 2 * count}


def test_growth_counts_only_what_is_new() -> None:
    kind = Kind()
    before = kind.slot("nonsense", counter("a"))
    after = kind.families.grown(before, [b"more nonsense", counter("b").encode()], "7")
    assert kind.errors == {"bad_key": 2}
    assert after.begins_with(before)
    assert len(after.series) == 4


def test_series_go_with_the_last_file_that_holds_them() -> None:
    names = MetricNames()
    kind = Kind("gauge_max", names)
    both, one = kind.slot(gauge("a"), gauge("b")), kind.slot(gauge("a"))
    (a, b) = both.families
    kind.let_go(both)
    assert a in kind.families
    assert b not in kind.families
    assert {series.family for series in kind.families.dirty} == {a, b}
    kind.let_go(one)
    assert a not in kind.families
    assert not names._users


def test_series_that_outlive_their_files_stay() -> None:
    kind = Kind()
    placement = kind.slot(counter("a"))
    (family,) = placement.families
    (series,) = family
    series.outlives = True
    kind.let_go(placement)
    assert list(family) == [series]
    assert family in kind.families


def test_a_placement_that_was_let_go_is_made_anew() -> None:
    kind, file = Kind("gauge_max"), contents(gauge("a"))
    kind.let_go(first := kind.slot(file=file))
    second = kind.slot(file=file)
    assert second is not first
    (family,) = second.families
    assert list(family) == second.series


# --- The most series ---


def test_series_beyond_the_budget_are_left_out_and_counted() -> None:
    kind = Kind(most=2)
    placement = kind.slot(*(counter("a", n=str(number)) for number in range(5)))
    assert [labels["n"] for labels in labels_of(placement)] == ["0", "1"]
    assert placement.bad_keys == [TOO_MANY] * 3
    assert kind.errors == {"too_many_series": 3}
    assert labels_of(kind.slot(counter("a", n="1"), counter("a", n="7"))) == [{"n": "1"}]


def test_a_family_none_of_whose_series_fits_takes_no_name() -> None:
    names = MetricNames()
    kind = Kind("counter", names, most=1)
    kind.slot(counter("a"), counter("b"))
    other = Kind("gauge_all", names)
    other.slot(gauge("b"))
    assert not names.refused


def test_series_that_went_make_room() -> None:
    kind = Kind(most=2)
    placement = kind.slot(counter("a"), counter("b"))
    kind.let_go(placement)
    assert kind.budget.left == 2
    assert len(labels_of(kind.slot(counter("c"), counter("d")))) == 2


def test_each_bucket_counts_and_a_histogram_is_completed_all_the_same() -> None:
    kind = Kind("histogram", most=3)
    placement = kind.slot(*(bucket("a", f"{bound}.0") for bound in range(10)))
    (series,) = {series for series in placement.series if series}
    assert series.columns == (SUM, 0.0, 1.0, 2.0, INF)
    assert kind.budget.left == -2
    assert len(placement.bad_keys) == 7


def test_a_file_that_grows_past_the_budget_keeps_what_it_had() -> None:
    kind = Kind(most=2)
    short = contents(counter("a"))
    placement = kind.slot(file=short)
    longer = kind.families.grown(placement, [key.encode() for key in (counter("b"), counter("c"))], "7")
    assert [series.family.name for series in longer.series if series] == ["a", "b"]
    assert longer.series[2] is None
