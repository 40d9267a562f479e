"""Ranks of a worker, and how their figures make up the worker's.

Within a data-parallel group, tensor, pipeline and expert ranks work on the same requests: the greatest figure counts.
Data-parallel groups have requests of their own: counts add up.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, reduce
from typing import NamedTuple, TypeVar

from exporter.engine.buckets import Buckets
from exporter.model import Labels

T = TypeVar("T")


class Rank(NamedTuple):
    """The rank of the process that a series is of; empty where its labels do not say."""

    dp: str = ""
    tp: str = ""
    pp: str = ""
    ep: str = ""

    @property
    def labels(self) -> dict[str, str]:
        """The rank as labels: `{"dp_rank": "0", "tp_rank": "3"}`."""
        return {f"{name}_rank": value for name, value in self._asdict().items() if value}


_TP = 1

_PLACES = {"dp_rank": 0, "engine": 0, "tp_rank": 1, "pp_rank": 2, "ep_rank": 3, "moe_ep_rank": 3}
"""Where in a `Rank` the value of a label stands; `engine` is what vLLM calls its data-parallel rank."""


LONGEST_TEXT = 64
"""Characters of a label's value that are kept: longer ones, which no engine has, would take memory without bound."""


def rank_of(labels: Labels) -> Rank:
    """Return the rank that labels tell."""
    found = ["", "", "", ""]
    for name, value in labels:
        if name in _PLACES:
            found[_PLACES[name]] = value[:LONGEST_TEXT]
    return _rank(*found)


_rank = lru_cache(maxsize=1024)(Rank)  # one object for all series of a rank


def in_order(ranks: Iterable[Rank]) -> list[Rank]:
    """Return ranks in their numerical order."""
    return sorted(ranks, key=lambda rank: [(len(part), part) for part in rank])


def names(ranks: Sequence[Rank]) -> list[str]:
    """Return what to call each of a worker's ranks: by the parts in which they differ, such as `tp 3`."""
    differing = [place for place, values in enumerate(zip(*ranks, strict=True)) if len(set(values)) > 1]
    return [_name(rank, differing) or _name(rank, [_TP]) or _name(rank, range(len(rank))) for rank in ranks]


def _name(rank: Rank, places: Iterable[int]) -> str:
    return ", ".join(f"{Rank._fields[place]} {rank[place]}" for place in places if rank[place])


def of_groups(by_rank: Mapping[Rank, T], size: Callable[[T], float]) -> dict[str, T]:
    """Return the figure of each data-parallel group: that of its rank with the greatest `size`."""
    groups: dict[str, T] = {}
    for rank, figure in by_rank.items():
        if rank.dp not in groups or size(figure) > size(groups[rank.dp]):
            groups[rank.dp] = figure
    return groups


def total(by_rank: Mapping[Rank, float]) -> float:
    """Return a worker's count."""
    return sum(of_groups(by_rank, float).values())


def ratio(by_rank: Mapping[Rank, float], weights: Mapping[Rank, float]) -> float:
    """Return a worker's ratio: the average of its groups, weighted by their sizes where all of these are known."""
    groups = of_groups(by_rank, float)
    sizes = of_groups(weights, float)
    if sizes.keys() != groups.keys() or not sum(sizes.values()) > 0:
        sizes = dict.fromkeys(groups, 1.0)
    return sum(value * sizes[group] for group, value in groups.items()) / sum(sizes.values())


def merged(by_rank: Mapping[Rank, Buckets]) -> Buckets:
    """Return a worker's histogram; there is one at least."""
    return reduce(Buckets.plus, of_groups(by_rank, lambda histogram: max(histogram.counts)).values())
