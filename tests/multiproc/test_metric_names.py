import pytest

from exporter.multiproc.metric_names import MetricNames
from exporter.multiproc.series import Family

TYPES = {"counter": "counter", "histogram": "histogram", "summary": "summary"}


def family(name: str, kind: str) -> Family:
    return Family(name, "Help.", kind, TYPES.get(kind, "gauge"))


def claimed(*families: Family, reserved: tuple[str, ...] = ()) -> MetricNames:
    names = MetricNames(reserved)
    for one in families:
        names.claim(one)
    return names


def test_a_family_with_two_types_keeps_the_first() -> None:
    gauge, counter = family("a", "gauge_max"), family("a", "counter")
    assert claimed(gauge, counter).refused == {
        counter: ("type_conflict", "'a' is in counter and gauge_max files")
    }


def test_a_gauge_with_two_modes_keeps_the_first() -> None:
    first, second = family("a", "gauge_max"), family("a", "gauge_min")
    assert claimed(first, second).refused[second].reason == "mode_conflict"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("a", "counter"), ("a_total", "gauge_all")),
        (("a_total", "gauge_all"), ("a", "counter")),
        (("a", "counter"), ("a_created", "gauge_all")),
        (("a", "histogram"), ("a_bucket", "gauge_all")),
        (("a", "histogram"), ("a_count", "gauge_all")),
        (("a", "summary"), ("a_sum", "gauge_all")),
        (("a_sum", "gauge_all"), ("a", "summary")),
    ],
)
def test_a_name_that_another_family_uses(first: tuple[str, str], second: tuple[str, str]) -> None:
    loser = family(*second)
    fault = claimed(family(*first), loser).refused[loser]
    assert fault.reason == "name_conflict"
    assert "would use the name" in fault.text


def test_names_that_only_look_alike() -> None:
    alike = [("a", "counter"), ("a_bucket", "gauge_all"), ("a_totals", "gauge_all"), ("b", "histogram")]
    assert not claimed(*(family(*one) for one in [*alike, ("b_total", "gauge_all")])).refused


@pytest.mark.parametrize(
    ("name", "kind"), [("up", "gauge_all"), ("scrapes", "counter"), ("scrapes_total", "gauge_all")]
)
def test_reserved_names_are_the_exporters_own(name: str, kind: str) -> None:
    loser = family(name, kind)
    fault = claimed(loser, reserved=("up", "scrapes", "scrapes_total")).refused[loser]
    assert fault.reason == "name_conflict"
    assert fault.text.endswith("of the exporter itself")


def test_the_next_one_has_the_names_when_their_owner_goes() -> None:
    owner, heir, third = family("a", "gauge_max"), family("a", "counter"), family("a_total", "gauge_all")
    names = claimed(owner, heir, third)
    assert list(names.refused) == [heir]
    names.release(third)
    names.release(owner)
    assert not names.refused
    names.claim(third)
    assert list(names.refused) == [third]


def test_one_that_waits_and_goes_takes_nothing_with_it() -> None:
    owner, loser, other = family("a", "gauge_max"), family("a", "gauge_min"), family("a", "gauge_sum")
    names = claimed(owner, loser)
    names.release(loser)
    names.claim(other)
    assert list(names.refused) == [other]
    assert "gauge_max" in names.refused[other].text


def test_a_family_that_waits_for_two_owners_has_its_names_when_both_are_gone() -> None:
    first, second, heir = family("a", "gauge_max"), family("a_total", "gauge_max"), family("a", "counter")
    names = claimed(first, second, heir)
    names.release(first)
    assert list(names.refused) == [heir]
    names.release(second)
    assert not names.refused
