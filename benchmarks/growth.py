"""Growth: the cost of a scrape by the number of ranks, and by the number of dead processes' files."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from benchmarks.contenders import ours, stock
from benchmarks.directories import (
    FILES_OF_A_DEAD_PROCESS,
    LIVE_PIDS,
    add_dead_processes,
    recorded,
    with_ranks,
)
from benchmarks.engine import SHARES
from benchmarks.measuring import measure
from benchmarks.plot import line_chart
from benchmarks.report import Row, milliseconds, times
from benchmarks.traffic import ALL, NOTHING, SOME

RANKS = (1, 2, 4, 8, 16, 32, 64)
DEAD_PROCESSES = (1, 10, 100, 1000)
_STOCK_REPEATS = 3
"""Repeats for stock, which takes seconds on large directories."""
_LIVE_FILES = "*_141??.db"
_LEAST_RATIO, _MOST_MORE = 1000, 1e-3
"""Targets with dead processes: least ratio to stock, and most additional seconds."""
_NOISE = 1.1
"""Ratio to linear growth up to which growth counts as linear."""

Curves = Mapping[str, Sequence[tuple[float, float]]]
"""By contender: (size, seconds of CPU time), sizes ascending."""


def by_ranks(parent: Path, repeats: int, ranks: Sequence[int] = RANKS) -> Curves:
    """Measure workers with the given numbers of schedulers."""
    tp8 = recorded("tp8", parent)
    curves: dict[str, list[tuple[float, float]]] = {name: [] for name in ("stock", *_OURS.values())}
    for count in ranks:
        directory = with_ranks(tp8, count, parent)
        few = min(repeats, _STOCK_REPEATS)
        curves["stock"].append((count, measure({"stock": stock}, directory, NOTHING, few)["stock"].total))
        for share, name in _OURS.items():
            curves[name].append((count, measure({"ours": ours}, directory, share, repeats)["ours"].total))
    return curves


_OURS = {share: f"ours, {SHARES[share]}" for share in (ALL, SOME, NOTHING)}


def rank_rows(curves: Curves) -> Iterator[Row]:
    """Return rows of growth over the upper half of the sizes."""
    for name in _OURS.values():
        (few, less), (many, more) = curves[name][len(curves[name]) // 2], curves[name][-1]
        stock_less, stock_more = curves["stock"][len(curves[name]) // 2][1], curves["stock"][-1][1]
        yield Row(
            f"{few:g} → {many:g} ranks{name.removeprefix('ours')}",
            f"{milliseconds(less)} → {milliseconds(more)}, {more / less:.1f}x",
            f"{milliseconds(stock_less)} → {milliseconds(stock_more)}",
            ratio=times(stock_more / more),
            target=f"linear: ≤ {many / few:g}x",
            met=more / less <= many / few * _NOISE,
        )


def by_dead_processes(
    parent: Path, repeats: int, counts: Sequence[int] = DEAD_PROCESSES
) -> tuple[float, Curves]:
    """Measure `tp1` beside given numbers of dead processes; return our cost without them, and the curves."""
    mine = partial(ours, live=LIVE_PIDS)
    curves: dict[str, list[tuple[float, float]]] = {"stock": [], "ours": []}
    alone = 0.0
    for count in (0, *counts):
        (root := parent / f"dead-{count}").mkdir()
        directory = recorded("tp1", root)
        add_dead_processes(directory, count)
        cost = measure({"ours": mine}, directory, SOME, repeats, written=_LIVE_FILES)["ours"].total
        if not count:
            alone = cost
            continue
        few = min(repeats, _STOCK_REPEATS)
        stock_cost = measure({"stock": stock}, directory, SOME, few, written=_LIVE_FILES)["stock"].total
        curves["ours"].append((count * FILES_OF_A_DEAD_PROCESS, cost))
        curves["stock"].append((count * FILES_OF_A_DEAD_PROCESS, stock_cost))
    return alone, curves


def dead_row(alone: float, curves: Curves) -> Row:
    """Return the row for the largest number of dead processes."""
    (files, mine), (_, theirs) = curves["ours"][-1], curves["stock"][-1]
    return Row(
        f"tp1 and {files:,g} files of dead processes, 20 % of the live ones' lines changed",
        f"{milliseconds(mine)}; {milliseconds(alone)} without the dead",
        milliseconds(theirs),
        ratio=times(theirs / mine),
        target=f"≥ {_LEAST_RATIO:,}x, and within 1 ms of the live worker alone",
        met=theirs / mine >= _LEAST_RATIO and mine - alone <= _MOST_MORE,
    )


def rank_chart(curves: Curves) -> str:
    """Return the plot of `by_ranks`."""
    return line_chart("Cost of a scrape by ranks", "ranks", "ms of CPU time", _in_milliseconds(curves))


def dead_chart(alone: float, curves: Curves) -> str:
    """Return the plot of `by_dead_processes`."""
    without = {"ours, no dead process": [(files, alone) for files, _ in curves["ours"]]}
    return line_chart(
        "Cost of a scrape by files of dead processes",
        "files of dead processes, beside a live worker (tp1)",
        "ms of CPU time",
        _in_milliseconds({**curves, **without}),
    )


def _in_milliseconds(curves: Curves) -> Curves:
    return {name: [(size, seconds * 1e3) for size, seconds in points] for name, points in curves.items()}
