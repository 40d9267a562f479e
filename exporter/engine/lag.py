"""Which ranks of a worker lag: of the requests that they run, they make fewer tokens than the other ranks."""

from collections.abc import Collection, Mapping
from statistics import median_high

from exporter.engine.ranks import Rank

SECONDS = 15.0
"""Seconds over which a rank's pace is taken, and for which it must be slow without a break: a burst is over by then."""

_SLOW = 0.5
"""Part of the ranks' median pace below which a rank is slow."""
_BUSY = 4
"""Requests that a rank runs at least if its pace counts: with fewer, it is a matter of chance."""


class Lag:
    """Follows the pace of a worker's ranks: the tokens that they generate for each request that they run."""

    def __init__(self) -> None:
        self._time = 0.0
        self._since: dict[Rank, float] = {}
        """Since when ranks are slow."""

    def take(self, time: float, tokens: Mapping[Rank, float], running: Mapping[Rank, float]) -> None:
        """Take a read at `time`: the tokens that each rank generated of late, and the requests that it runs."""
        self._time = time
        self._since = {rank: min(time, self._since.get(rank, time)) for rank in slow(tokens, running)}

    @property
    def ranks(self) -> Collection[Rank]:
        """The ranks that lag."""
        return {rank for rank, since in self._since.items() if self._time - since >= SECONDS}


def slow(tokens: Mapping[Rank, float], running: Mapping[Rank, float]) -> Collection[Rank]:
    """Return the ranks whose pace is less than half of the median; of those with little to do, none."""
    paces = {
        rank: count / running[rank]
        for rank, count in tokens.items()
        if any(rank) and running.get(rank, 0) >= _BUSY
    }
    usual = median_high(paces.values()) if paces else 0.0
    return {rank for rank, pace in paces.items() if pace < _SLOW * usual}
