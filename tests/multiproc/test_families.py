import math

import pytest

from exporter.multiproc.dbfile import BadKeyError
from exporter.multiproc.families import Families
from exporter.multiproc.series import SUM
from tests.support.files import HELP, bucket, counter, gauge, sample_key, total

INF = math.inf


def families(*labels: tuple[str, str], reserved: tuple[str, ...] = (), per_process: bool = False) -> Families:
    return Families(labels, reserved, per_process=per_process)


def labels_of(placed: Families, kind: str, key: str, pid: str = "7") -> dict[str, str]:
    series, _ = placed.place(kind, pid, key.encode())
    return dict(series.labels)


def refused(placed: Families, kind: str, key: str) -> tuple[str, str]:
    """Return the reason in one word, and for people."""
    with pytest.raises(BadKeyError) as caught:
        placed.place(kind, "7", key.encode())
    return caught.value.reason, str(caught.value)


@pytest.mark.parametrize(
    ("kind", "key", "name", "column"),
    [
        ("counter", counter("a:b"), "a:b_total", 0.0),
        ("gauge_max", gauge("a"), "a", 0.0),
        ("gauge_max", gauge("a_total"), "a_total", 0.0),
        ("summary", total("a"), "a_sum", 0.0),
        ("summary", sample_key("a", "a_count", {}), "a_count", 0.0),
        ("histogram", total("a"), "a", SUM),
        ("histogram", bucket("a", "0.5"), "a", 0.5),
        ("histogram", bucket("a", "+Inf"), "a", INF),
        ("histogram", bucket("a", "-1"), "a", -1.0),
    ],
)
def test_where_an_entry_belongs(kind: str, key: str, name: str, column: float) -> None:
    placed = families()
    series, found = placed.place(kind, "7", key.encode())
    assert (series.name, found) == (name, column)
    assert series.labels == ()
    (family,) = placed
    assert (family.name, family.help, family.kind) == (key.split('"')[1], HELP, kind)
    assert list(family) == [series]


def test_families_are_in_order() -> None:
    placed = families()
    for name in ("b", "c", "a"):
        placed.place("counter", "7", counter(name).encode())
    assert [family.name for family in placed] == ["a", "b", "c"]


def test_the_first_help_stays() -> None:
    placed = families()
    placed.place("counter", "7", sample_key("a", "a_total", {}, "First.").encode())
    placed.place("counter", "8", sample_key("a", "a_total", {}, "Second.").encode())
    assert [family.help for family in placed] == ["First."]


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("counter", sample_key("a", "a", {})),
        ("counter", sample_key("a", "b_total", {})),
        ("counter", sample_key("a", "a_created", {})),
        ("gauge_all", sample_key("a", "a_total", {})),
        ("summary", sample_key("a", "a", {"quantile": "0.5"})),
        ("histogram", sample_key("a", "a_count", {})),
        ("histogram", sample_key("a", "a_bucket", {})),
        ("histogram", bucket("a", "")),
        ("histogram", bucket("a", "high")),
        ("histogram", bucket("a", "nan")),
        ("histogram", bucket("a", "-Inf")),
    ],
)
def test_samples_of_the_wrong_shape(kind: str, key: str) -> None:
    placed = families()
    assert refused(placed, kind, key)[0] == "bad_key"
    assert list(placed) == []


def test_labels_are_sorted_and_added() -> None:
    placed = families(("worker_addr", "grpc://h:1"), ("dc", "x"))
    series, _ = placed.place("counter", "7", counter("a", zone="z", area="a").encode())
    assert series.labels == (("area", "a"), ("dc", "x"), ("worker_addr", "grpc://h:1"), ("zone", "z"))


def test_a_label_of_an_added_name_is_kept_as_exported() -> None:
    placed = families(("worker_addr", "ours"))
    assert labels_of(placed, "counter", counter("a", worker_addr="theirs")) == {
        "worker_addr": "ours",
        "exported_worker_addr": "theirs",
    }


def test_exported_labels_form_a_chain() -> None:
    placed = families(("worker_addr", "ours"))
    key = counter("a", worker_addr="1", exported_worker_addr="2", exported_exported_worker_addr="3")
    assert labels_of(placed, "counter", key) == {
        "worker_addr": "ours",
        "exported_worker_addr": "2",
        "exported_exported_worker_addr": "3",
        "exported_exported_exported_worker_addr": "1",
    }


def test_the_bound_is_no_label_of_a_histograms_series() -> None:
    placed = families(("le", "ours"))
    series, column = placed.place("histogram", "7", bucket("a", "1.0", x="y").encode())
    assert column == 1.0
    assert ("x", "y") in series.labels


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
    placed = families(per_process=per_process)
    key = counter("a", pid="theirs") if kind == "counter" else gauge("a", pid="theirs")
    assert labels_of(placed, kind, key) == expected


def test_processes_share_a_series_unless_they_are_told_apart() -> None:
    for per_process, count in ((False, 1), (True, 2)):
        placed = families(per_process=per_process)
        for pid in "78":
            placed.place("counter", pid, counter("a").encode())
        assert [len(list(family)) for family in placed] == [count]


def test_a_family_with_two_types() -> None:
    placed = families()
    placed.place("gauge_max", "7", gauge("a").encode())
    reason, text = refused(placed, "counter", counter("a"))
    assert reason == "type_conflict"
    assert text == "'a' is in counter and gauge_max files"
    assert [family.type for family in placed] == ["gauge"]


def test_a_gauge_with_two_modes() -> None:
    placed = families()
    placed.place("gauge_max", "7", gauge("a").encode())
    assert refused(placed, "gauge_min", gauge("a"))[0] == "mode_conflict"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("counter", counter("a")), ("gauge_all", gauge("a_total"))),
        (("gauge_all", gauge("a_total")), ("counter", counter("a"))),
        (("histogram", total("a")), ("gauge_all", gauge("a_bucket"))),
        (("histogram", total("a")), ("gauge_all", gauge("a_count"))),
        (("summary", total("a")), ("gauge_all", gauge("a_sum"))),
        (("gauge_all", gauge("a_sum")), ("summary", total("a"))),
    ],
)
def test_a_name_that_another_family_uses(first: tuple[str, str], second: tuple[str, str]) -> None:
    placed = families()
    placed.place(first[0], "7", first[1].encode())
    reason, text = refused(placed, *second)
    assert reason == "name_conflict"
    assert "would use the name" in text
    assert len(list(placed)) == 1


def test_names_that_only_look_alike() -> None:
    placed = families()
    for kind, key in (
        ("counter", counter("a")),
        ("gauge_all", gauge("a_bucket")),
        ("gauge_all", gauge("a_totals")),
        ("histogram", total("b")),
        ("gauge_all", gauge("b_total")),
    ):
        placed.place(kind, "7", key.encode())
    assert len(list(placed)) == 5


@pytest.mark.parametrize("name", ["smg_exporter_up", "smg_exporter_scrapes", "smg_exporter_scrapes_total"])
def test_reserved_names(name: str) -> None:
    placed = families(reserved=("smg_exporter_up", "smg_exporter_scrapes", "smg_exporter_scrapes_total"))
    reason, text = refused(placed, "gauge_all", gauge(name))
    assert reason == "name_conflict"
    assert "the exporter itself" in text
    if not name.endswith("_total"):
        assert refused(placed, "counter", counter(name))[0] == "name_conflict"


def kept(kind: str, key: str, constant: float, now: float | None) -> tuple[float, ...]:
    """Return the values of what had a constant before, and has a file with `now`, or none."""

    class Source:
        def __init__(self, value: float) -> None:
            self.values: tuple[float, ...] = (value,)
            self.changes = (slice(None),)

    old, new = families(), families()
    for placed, value in ((old, constant), (new, now)):
        if value is not None:
            source = Source(value)
            series, column = placed.place(kind, "7", key.encode())
            series.add(source, 0, column)
            series.arrange()
            if placed is old:
                series.settle(source)
    new.keep_constants(old)
    return next((series.values() for family in new for series in family), ())


@pytest.mark.parametrize(("now", "value"), [(None, 5.0), (0.0, 5.0), (3.0, 5.0), (5.0, 5.0), (7.0, 7.0)])
def test_constants_of_sums(now: float | None, value: float) -> None:
    assert kept("counter", counter("a"), 5.0, now) == (value,)
    assert kept("histogram", bucket("a", "1.0"), 5.0, now)[0] == value
    assert kept("summary", total("a"), 5.0, now) == (value,)


def test_gauges_keep_no_constants() -> None:
    assert kept("gauge_sum", gauge("a"), 5.0, 3.0) == (3.0,)
    assert kept("gauge_sum", gauge("a"), 5.0, None) == ()


def test_a_name_that_became_another_kind_of_family_keeps_nothing() -> None:
    old, new = families(), families()
    old.place("counter", "7", counter("a").encode())
    new.place("gauge_max", "7", gauge("a").encode())
    new.keep_constants(old)
    assert [family.kind for family in new] == ["gauge_max"]
