"""The engine: merging and rendering of recorded directories, by share of lines changed since the last scrape."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from benchmarks.contenders import Make, floor, ours, rust, stock
from benchmarks.measuring import Cost, measure, measure_first
from benchmarks.report import Row, markdown, milliseconds, times
from benchmarks.traffic import ALL, NOTHING, SOME
from exporter.model import Format

SHARES = {NOTHING: "nothing changed", SOME: "20 % of lines changed", ALL: "every line changed"}
TARGETS = {
    ("tp8", NOTHING): 500,
    ("tp8", SOME): 100,
    ("tp8", ALL): 30,
    ("tp1", NOTHING): 200,
    ("tp1", SOME): 60,
    ("tp1", ALL): 20,
}
_TOLERANCE = 0.02
"""Allowed deviation of the share of changed lines."""
_IN_A_ROW = 5
_NOISE = 1.05
"""Ratio of two costs up to which the larger still counts as equal."""

Costs = Mapping[str, Cost]


def contenders() -> dict[str, Make]:
    """Return all contenders; the Rust merge only if it is installed."""
    found: dict[str, Make] = {
        "ours": ours,
        "stock": stock,
        "ours-openmetrics": partial(ours, format_=Format.OPENMETRICS_1_0_0),
        "stock-openmetrics": partial(stock, openmetrics=True),
        "floor": floor,
    }
    if find_spec("prometheus_client_python_speedups"):
        found["rust"] = rust
    return found


def _text_contenders() -> dict[str, Make]:
    return {name: make for name, make in contenders().items() if name in ("ours", "stock", "rust")}


def costs_by_share(
    directory: Path, repeats: int, shares: Iterable[float] = tuple(SHARES)
) -> dict[float, Costs]:
    """Measure all contenders at each share of changed lines."""
    found: dict[float, Costs] = {}
    for share in shares:
        found[share] = measure(contenders(), directory, share, repeats)
        for name, cost in found[share].items():
            exact = share in (NOTHING, ALL)
            assert abs(cost.changed - share) <= (0 if exact else _TOLERANCE), (name, share, cost.changed)
    return found


def rows(name: str, costs: Mapping[float, Costs]) -> Iterator[Row]:
    """Return the rows of one directory in the text format."""
    for share, by_contender in costs.items():
        target = TARGETS[name, share]
        yield compare(
            f"{name}, {SHARES[share]}", by_contender, target, below_rust=(name, share) == ("tp8", ALL)
        )


def compare(case: str, costs: Costs, target: float, *, below_rust: bool = False) -> Row:
    """Return the row of one case; with `below_rust`, ours must also cost less than the Rust merge alone."""
    mine, theirs, merged = costs["ours"].total, costs["stock"].total, costs.get("rust")
    met = theirs / mine >= target
    if below_rust and merged:
        met = met and mine < merged.steps["merge"]
    return Row(
        case,
        milliseconds(mine),
        milliseconds(theirs),
        milliseconds(merged.steps["merge"]) if merged else "",
        milliseconds(merged.total) if merged else "",
        times(theirs / mine),
        f"≥ {target:,}x" + (", and less than the Rust merge alone" if below_rust else ""),
        met,
    )


def warm_row(directory: Path, repeats: int) -> Row:
    """Return the row of a scrape right after another, with warm processor caches."""
    costs = measure(_text_contenders(), directory, NOTHING, repeats, in_a_row=_IN_A_ROW)
    name = directory.name
    return compare(f"{name}, {SHARES[NOTHING]}, scraped again at once", costs, TARGETS[name, NOTHING])


def first_scrape(directory: Path, repeats: int) -> Row:
    """Return the row of the first scrape of a new process."""
    costs = measure_first(_text_contenders(), directory, repeats)
    return compare(f"{directory.name}, first scrape of a process", costs, 1)


def openmetrics_rows(name: str, costs: Mapping[float, Costs]) -> Iterator[Row]:
    """Return the rows of one directory in OpenMetrics."""
    for share, by_contender in costs.items():
        mine, theirs = by_contender["ours-openmetrics"].total, by_contender["stock-openmetrics"].total
        text = by_contender["ours"].total
        yield Row(
            f"{name}, {SHARES[share]}, OpenMetrics",
            milliseconds(mine),
            milliseconds(theirs),
            ratio=times(theirs / mine),
            target=f"no more than the text format, {milliseconds(text)}",
            met=mine <= text * _NOISE,
        )


def profile(costs: Mapping[float, Costs]) -> str:
    """Return a table of the costs of our steps, and of the minimal work of any scrape, part by part."""
    steps: dict[str, Callable[[Costs], float]] = {
        "**ours**": lambda by: by["ours"].total,
        "read and merge": lambda by: by["ours"].steps["update"],
        "— of that, reading: `pread`, compare, unpack": lambda by: by["floor"].steps["compare"],
        "render": lambda by: by["ours"].steps["render"],
        "join the body": lambda by: by["ours"].steps["join"],
        "**floor**": lambda by: sum(by["floor"].steps[step] for step in ("pread", "format", "join")),
        "`pread` of the bytes in use": lambda by: by["floor"].steps["pread"],
        "`to_json` of the values that changed": lambda by: by["floor"].steps["format"],
        "join of the body": lambda by: by["floor"].steps["join"],
    }
    lines = [
        (name, *(milliseconds(cost(by_contender)) for by_contender in costs.values()))
        for name, cost in steps.items()
    ]
    return markdown(("step", *(SHARES[share] for share in costs)), lines)
