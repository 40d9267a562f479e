"""The page and the engine view behind it: what looking costs the exporter, and what they cost while nobody looks."""

import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from statistics import mean, median

from benchmarks.report import Row, milliseconds, times
from benchmarks.running import Running, running
from benchmarks.traffic import ALL, NOTHING, SOME, Traffic

_PERIOD = 2.1
"""Seconds between two refreshes, as of the page; or between two scrapes that are both worked up."""
_REST = 0.25
"""Seconds after a scrape until it is worked up for the engine view, too."""
_DEAREST_LOOK = 5e-3
_LEAST_SHARE = 0.02
"""Of a scrape's CPU time: less is not measurable, as it is less than what one run differs from the next."""
_WITHOUT = "benchmarks.servers", "blind"


def look_rows(directory: Path, repeats: int, period: float = _PERIOD) -> Iterator[Row]:
    """Measure one refresh of the page, as `live.js` asks for it."""
    cases = {NOTHING: "nothing changed", SOME: "20 % of lines changed", ALL: "every line changed"}
    costs: dict[float, list[float]] = {share: [] for share in cases}
    with (
        closing(Traffic(directory.glob("*.db"))) as traffic,
        running(directory, "--liveness=off") as exporter,
    ):
        newest = _refresh(exporter, 0.0)  # the first look has all of the history, later ones what is new
        for _ in range(repeats):
            for share, found in costs.items():
                traffic.change(share)
                time.sleep(period)
                before = exporter.cpu_seconds
                newest = _refresh(exporter, newest)
                time.sleep(_REST)
                found.append(exporter.cpu_seconds - before)
    for share, case in cases.items():
        yield Row(
            f"a refresh of the page, {directory.name}, {case}: median, least",
            f"{milliseconds(median(costs[share]))}, {milliseconds(min(costs[share]))}",
            target=f"≤ {_DEAREST_LOOK * 1e3:g} ms",
            met=median(costs[share]) <= _DEAREST_LOOK,
        )


def nobody_row(directory: Path, repeats: int, period: float = _PERIOD) -> Row:
    """Measure scrapes of an exporter at whose page nobody looks, beside one that takes no notice of them for it."""
    costs: dict[str, list[float]] = {"with": [], "without": []}
    with (
        closing(Traffic(directory.glob("*.db"))) as traffic,
        running(directory, "--liveness=off") as ours,
        running(directory, "--liveness=off", module=_WITHOUT) as blind,
    ):
        exporters = {"with": ours, "without": blind}
        for repeat in range(-1, repeats):
            traffic.change(SOME)
            time.sleep(max(0.0, period - 2 * _REST))
            for name in sorted(exporters, reverse=bool(repeat % 2)):  # each is the first one as often
                before = exporters[name].cpu_seconds
                exporters[name].scrape()
                time.sleep(_REST)
                costs[name] += [exporters[name].cpu_seconds - before] if repeat >= 0 else []
    cost, without = mean(costs["with"]), mean(costs["without"])  # not medians: few scrapes are worked up
    return Row(
        f"a scrape while nobody looks at the page, {directory.name}, 20 % of lines changed; without engine view: means",
        f"{milliseconds(cost)}; {milliseconds(without)}: {times(cost / without)}",
        target="nothing measurable",
        met=cost / without <= 1 + _LEAST_SHARE,
    )


def _refresh(exporter: Running, since: float) -> float:
    """Ask for what is new since a time; return the time of the newest."""
    (worker,) = json.loads(exporter.get(f"/engine.json?since={since}"))["workers"]
    return float(worker["time"])
