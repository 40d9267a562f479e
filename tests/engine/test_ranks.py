"""Ranks, and the figures of workers with several."""

import pytest

from exporter.engine import ranks
from exporter.engine.buckets import Buckets
from exporter.engine.ranks import Rank


def rank(dp: int, tp: int) -> Rank:
    return Rank(dp=str(dp), tp=str(tp))


def test_labels_tell_the_rank() -> None:
    labels = (("dp_rank", "1"), ("model_name", "m"), ("moe_ep_rank", "3"), ("pp_rank", "0"), ("tp_rank", "2"))
    assert ranks.rank_of(labels) == Rank("1", "2", "0", "3")
    assert ranks.rank_of((("engine", "4"),)) == Rank("4")
    assert ranks.rank_of(()) == Rank()
    assert Rank("1", "2").labels == {"dp_rank": "1", "tp_rank": "2"}


def test_ranks_are_ordered_as_numbers() -> None:
    some = [rank(0, 10), rank(0, 9), rank(1, 0), Rank()]
    assert ranks.in_order(some) == [Rank(), rank(0, 9), rank(0, 10), rank(1, 0)]


def test_ranks_are_called_by_what_tells_them_apart() -> None:
    assert ranks.names([Rank("0", "0", "0"), Rank("0", "1", "0")]) == ["tp 0", "tp 1"]
    assert ranks.names([rank(0, 0), rank(1, 1)]) == ["dp 0, tp 0", "dp 1, tp 1"]
    assert ranks.names([rank(0, 0)]) == ["tp 0"]
    assert ranks.names([Rank("3")]) == ["dp 3"]
    assert ranks.names([]) == []


def test_of_tensor_ranks_the_greatest_counts_and_data_parallel_groups_add_up() -> None:
    assert ranks.total({rank(0, 0): 21, rank(0, 1): 20, rank(1, 0): 3, rank(1, 1): 5}) == 26


def test_a_ratio_is_weighted_by_sizes_where_all_are_known() -> None:
    usage = {rank(0, 0): 0.5, rank(0, 1): 0.4, rank(1, 0): 0.1}
    assert ranks.ratio(usage, {rank(0, 0): 300, rank(0, 1): 300, rank(1, 0): 100}) == pytest.approx(0.4)
    assert ranks.ratio(usage, {rank(0, 0): 300}) == pytest.approx(0.3)
    assert ranks.ratio(usage, {}) == pytest.approx(0.3)


def test_of_a_group_one_ranks_whole_histogram_counts() -> None:
    inf = float("inf")
    histograms = {
        rank(0, 0): Buckets((1.0, inf), [2.0, 4.0]),
        rank(0, 1): Buckets((1.0, inf), [3.0, 3.0]),
        rank(1, 0): Buckets((0.5, inf), [1.0, 1.0]),
    }
    assert ranks.merged(histograms) == Buckets((0.5, 1.0, inf), [1.0, 2.0, 5.0])
