"""Present values of gauges, by rank."""

from collections.abc import Sequence

from exporter.engine.gauges import Gauges
from exporter.engine.meanings import GAUGES, meaning_of
from exporter.engine.ranks import Rank
from exporter.model import FamilyValues
from tests.support.snapshots import Snapshots, gauge, snapshot

RUNNING = "sglang:num_running_reqs"


def take(gauges: Gauges, families: Sequence[FamilyValues]) -> Gauges:
    meant = ((meaning_of(family.family.name, family.family.type), family) for family in families)
    gauges.take((meaning, family) for meaning, family in meant if meaning)
    return gauges


def running(gauges: Gauges) -> dict[Rank, float]:
    return gauges.find(GAUGES["running"], sum)


def test_values_are_those_of_the_last_read() -> None:
    gauges, snapshots = Gauges(100), Snapshots()
    for value in (3, 4, 4):
        take(gauges, snapshots.of(gauge(RUNNING, {'tp_rank="0"': value, 'tp_rank="1"': 1})))
    assert running(gauges) == {Rank(tp="0"): 4, Rank(tp="1"): 1}
    take(gauges, snapshots.of(gauge(RUNNING, {'tp_rank="1"': 7})))
    assert running(gauges) == {Rank(tp="1"): 7}
    take(gauges, [])
    assert running(gauges) == {}


def test_series_of_one_rank_are_combined() -> None:
    gauges = take(Gauges(100), snapshot(gauge(RUNNING, {'pid="1"': 3, 'pid="2"': 5})))
    assert running(gauges) == {Rank(): 8}
    assert gauges.find(GAUGES["running"], max) == {Rank(): 5}


def test_a_breakdown_by_priority_does_not_count_twice() -> None:
    lines = gauge(RUNNING, {'priority=""': 5, 'priority="0"': 2, 'priority="1"': 3})
    assert running(take(Gauges(100), snapshot(lines))) == {Rank(): 5}


def test_what_is_no_number_is_unknown() -> None:
    lines = gauge(RUNNING, {'tp_rank="0"': float("nan"), 'tp_rank="1"': float("inf"), 'tp_rank="2"': 1})
    assert running(take(Gauges(100), snapshot(lines))) == {Rank(tp="2"): 1}


def test_the_first_source_with_a_value_counts() -> None:
    both = gauge("vllm:gpu_cache_usage_perc", {"": 0.1}) + gauge("vllm:kv_cache_usage_perc", {"": 0.2})
    assert take(Gauges(9), snapshot(both)).find(GAUGES["kv_cache_usage"], max) == {Rank(): 0.2}
    old = snapshot(gauge("vllm:gpu_cache_usage_perc", {"": 0.1}))
    assert take(Gauges(9), old).find(GAUGES["kv_cache_usage"], max) == {Rank(): 0.1}


def test_each_rank_has_the_first_source_that_has_it() -> None:
    both = gauge("vllm:gpu_cache_usage_perc", {'engine="0"': 0.1, 'engine="1"': 0.3})
    both += gauge("vllm:kv_cache_usage_perc", {'engine="0"': 0.2})
    found = take(Gauges(9), snapshot(both)).of_each_rank(GAUGES["kv_cache_usage"], max)
    assert found == {Rank("0"): 0.2, Rank("1"): 0.3}


def test_families_beyond_the_bound_are_unknown() -> None:
    lines = gauge(RUNNING, {f'tp_rank="{rank}"': 1 for rank in range(5)})
    assert len(running(take(Gauges(5), snapshot(lines)))) == 5
    assert running(take(Gauges(4), snapshot(lines))) == {}
