"""Measure side by side with the alternatives: `python -m benchmarks [--quick] [--repeats N] [PART ...]`.

A run of all parts without --quick also measures the fleet, and writes tables and plots into docs/. The part `node` is
measured alone, in a pid namespace of its own.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks import engine, fleet, growth, node, page, serving, transitions, watching
from benchmarks.directories import recorded, workspace
from benchmarks.report import DOCS, HEADINGS, PAGE, Row, cells, markdown, setting, write_into

_REPEATS = 25


class _Run:
    """One run: its settings, and the profile and charts for docs/."""

    def __init__(self, parent: Path, repeats: int, *, quick: bool) -> None:
        self.repeats = repeats
        self.profile = ""
        self.charts: dict[str, str] = {}
        """SVG texts by file name."""
        self._quick = quick
        self._parent = parent

    def engine(self) -> Iterator[Row]:
        """Measure merging and rendering by share of changed lines, in both formats, with a profile."""
        for name in ("tp8", "tp1"):
            directory = self._recorded(name, "engine")
            costs = engine.costs_by_share(directory, self.repeats)
            yield from engine.rows(name, costs)
            yield engine.warm_row(directory, self.repeats)
            if name == "tp8":
                yield engine.first_scrape(directory, self.repeats)
                yield from engine.openmetrics_rows(name, costs)
                self.profile = engine.profile(costs)

    def scrape(self) -> Iterator[Row]:
        """Measure the CPU time of the whole process for a scrape over HTTP."""
        return serving.scrape_rows(self._recorded("tp8", "scrape"), self.repeats)

    def web(self) -> Iterator[Row]:
        """Measure a web application's processes."""
        counts = (2,) if self._quick else transitions.PROCESSES
        return transitions.web_application_rows(self._room("web"), self.repeats, counts)

    def transitions(self) -> Iterator[Row]:
        """Measure scrapes after a death, a start, a new series, and scrapes beside refused files."""
        dead, refused = (20, 10) if self._quick else (1000, 10_000)
        yield from transitions.new_series_rows(self._recorded("tp8", "series"), self.repeats)
        yield transitions.death_row(self._room("death"), self.repeats, dead)
        yield from transitions.resumed_rows(self._room("resumed"), self.repeats, dead)
        yield transitions.refused_row(self._recorded("tp8", "refused"), self.repeats, refused)

    def watch(self) -> Iterator[Row]:
        """Measure what a running exporter costs beside its scrapes."""
        yield watching.living_row(self._room("living"), 1.0 if self._quick else 15.0)
        yield watching.first_row(self._room("first"), *((20, 1) if self._quick else (1000, 5)))
        yield from watching.dead_rows(self._room("watch"), *((50, 1) if self._quick else (20_000, 20)))

    def dead(self) -> Iterator[Row]:
        """Measure scrapes beside files of dead processes."""
        counts = growth.DEAD_PROCESSES[:2] if self._quick else growth.DEAD_PROCESSES
        alone, curves = growth.by_dead_processes(self._room("dead"), self.repeats, counts)
        self.charts["cost-by-dead-files.svg"] = growth.dead_chart(alone, curves)
        yield growth.dead_row(alone, curves)

    def http(self) -> Iterator[Row]:
        """Measure scrapes per second, and how long the event loop is blocked."""
        return serving.http_rows(self._recorded("tp8", "http"), seconds=1.0 if self._quick else 5.0)

    def page(self) -> Iterator[Row]:
        """Measure what a look at the page costs, and what the engine view costs while nobody looks."""
        period = {"period": 0.0} if self._quick else {}
        yield from page.look_rows(self._recorded("tp8", "look"), self.repeats, **period)
        yield page.nobody_row(self._recorded("tp8", "nobody"), self.repeats, **period)

    def memory(self) -> Iterator[Row]:
        """Measure resident memory, and the time to start."""
        directory = self._recorded("tp8", "memory")
        yield serving.memory_row(directory, (1, 10, 30) if self._quick else (1, 100, 1000, 10_000))
        yield serving.dead_memory_row(self._room("dead-memory"), *((10, 10) if self._quick else (1000, 100)))
        yield serving.start_row(directory, self.repeats)

    def ranks(self) -> Iterator[Row]:
        """Measure growth with the number of ranks."""
        counts = growth.RANKS[:3] if self._quick else growth.RANKS
        curves = growth.by_ranks(self._room("ranks"), self.repeats, counts)
        self.charts["cost-by-ranks.svg"] = growth.rank_chart(curves)
        return growth.rank_rows(curves)

    def _recorded(self, name: str, part: str) -> Path:
        return recorded(name, self._room(f"{part}-{name}"))

    def _room(self, part: str) -> Path:
        room = self._parent / part
        room.mkdir()
        return room


_PARTS = {
    "scrape": _Run.scrape,
    "engine": _Run.engine,
    "web": _Run.web,
    "transitions": _Run.transitions,
    "dead": _Run.dead,
    "watch": _Run.watch,
    "http": _Run.http,
    "page": _Run.page,
    "memory": _Run.memory,
    "ranks": _Run.ranks,
}


def main() -> int:
    """Measure the parts that the command line names; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"{', '.join(_PARTS)}; or fleet or node, alone"
    )
    parser.add_argument("--repeats", type=int, default=_REPEATS, metavar="N", help="default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="small cases, to see whether the benchmarks run")
    words = parser.parse_args()
    if words.parts == ["fleet"]:
        fleet.main()
        return 0
    if words.parts == ["node"]:
        return node.run()
    if unknown := set(words.parts) - set(_PARTS):
        parser.error(
            f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(_PARTS)}, fleet, and node"
        )
    with workspace() as parent:
        run = _Run(parent, words.repeats, quick=words.quick)
        rows: list[Row] = []
        for name in words.parts or _PARTS:
            print(f"measuring: {name} ...", file=sys.stderr)
            rows += _PARTS[name](run)
    results = f"{setting(run.repeats)}\n{markdown(HEADINGS, map(cells, rows))}"
    print(results, run.profile, sep="\n")
    if not (words.parts or words.quick):
        write_into(PAGE, "results", results)
        write_into(PAGE, "profile", run.profile)
        for name, chart in run.charts.items():
            (DOCS / name).write_text(chart)
        print("measuring: fleet ...", file=sys.stderr)
        fleet.main()
    return 0


if __name__ == "__main__":
    sys.exit(main())
