"""All workers as a table: one line each, with as many columns as fit."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from exporter.top import texts
from exporter.top.poll import Key, View, key
from exporter.top.texts import Line, Span

NAME = "WORKER"
LEGEND = (
    "RUN, QUEUE: requests. IN, OUT: tokens. CACHE: share of prompt tokens from the cache. KV: cache usage. "
    "TTFT95, ITL95, E2E95: 95th percentiles of time to first token, inter-token latency, whole request."
)
"""What the columns' titles mean."""

_MARGIN = 2
"""Characters before a name, for the mark of the chosen one."""
STATE_STYLES = {True: "good", False: "bad", None: "dim"}
_NAME_WIDTHS = (20, 44)
"""The least and the greatest width of the column of names."""
_TREND_WIDTHS = (12, 30)
_TREND_SECONDS = 120.0
_MODEL_WIDTH = 24


class Column(NamedTuple):
    """A column of the table."""

    title: str
    width: int
    path: tuple[str, ...]
    """Where its figure is in a worker's view."""
    text: Callable[[Any], str]
    priority: int
    """Where not all columns fit, those with the lowest numbers are shown."""

    def figure(self, view: View) -> Any:
        """Return a worker's figure, None if it is unknown."""
        found: Any = view
        for name in self.path:
            found = found[name]
        return found


def state(up: bool | None) -> str:  # noqa: FBT001 - a figure like others
    """Return whether a worker is up, in a word."""
    return "?" if up is None else "up" if up else "DOWN"


COLUMNS = (
    Column("STATE", 6, ("up",), state, 0),
    Column("RUN", 5, ("requests", "running"), texts.number, 1),
    Column("QUEUE", 6, ("requests", "queued"), texts.number, 2),
    Column("REQ/S", 6, ("requests", "per_second"), texts.number, 7),
    Column("IN/S", 6, ("tokens", "prompt_per_second"), texts.number, 9),
    Column("OUT/S", 6, ("tokens", "generated_per_second"), texts.number, 3),
    Column("CACHE", 6, ("tokens", "cache_hit_ratio"), texts.percent, 8),
    Column("KV", 4, ("kv_cache_usage",), texts.percent, 4),
    Column("TTFT95", 7, ("latency_seconds", "time_to_first_token", "p95"), texts.duration, 5),
    Column("ITL95", 7, ("latency_seconds", "inter_token", "p95"), texts.duration, 6),
    Column("E2E95", 7, ("latency_seconds", "end_to_end", "p95"), texts.duration, 10),
)


class Order(NamedTuple):
    """By which column the table is sorted."""

    title: str = NAME
    descending: bool = False

    def sort(self, views: Iterable[View]) -> list[View]:
        """Return the views in this order, those with an unknown figure last."""
        by_name = sorted(views, key=key)
        column = next((each for each in COLUMNS if each.title == self.title), None)
        if column is None:
            return by_name[::-1] if self.descending else by_name
        known = [view for view in by_name if column.figure(view) is not None]
        unknown = [view for view in by_name if column.figure(view) is None]
        return sorted(known, key=column.figure, reverse=self.descending) + unknown


def fitting(names: Iterable[str], width: int) -> tuple[int, list[Column]]:
    """Return the width of the column of names, and the other columns that fit."""
    least, most = _NAME_WIDTHS
    name_width = min(max([least, *map(len, names)]), most, max(width - _MARGIN, 1))
    room = width - _MARGIN - name_width
    chosen = []
    for column in sorted(COLUMNS, key=lambda each: each.priority):
        room -= column.width + 1
        if room < 0:
            break
        chosen.append(column)
    return name_width, [column for column in COLUMNS if column in chosen]


def table(views: Sequence[View], width: int, order: Order, chosen: Key | None = None) -> list[Line]:
    """Return the titles, and a line for each of `views`, which are in that order; that of `chosen` is marked."""
    name_width, shown = fitting((view["worker_addr"] for view in views), width)
    extras = _extras(width - _MARGIN - name_width - sum(column.width + 1 for column in shown))

    def title(text: str, align: str, place: int) -> Span:
        mark = "" if text != order.title else "↓" if order.descending else "↑"
        return f"{text + mark:{align}{place}}", "title"

    titles = [("  ", ""), title(NAME, "<", name_width)]
    for column in shown:
        titles += [(" ", ""), title(column.title, ">", column.width)]
    titles += [(f"  {extra.title:{extra.width}}", "title") for extra in extras]
    lines = [titles]
    for view in views:
        is_chosen = key(view) == chosen
        line = [
            ("> " if is_chosen else "  ", "chosen"),
            (texts.cut(view["worker_addr"], name_width), "chosen" if is_chosen else ""),
        ]
        lines.append([*line, *_cells(view, shown, extras, width - _MARGIN - name_width)])
    return lines


def _cells(view: View, shown: Sequence[Column], extras: Sequence["_Extra"], width: int) -> Line:
    """Return a worker's line behind its name: its figures, or why there are none."""
    cells: Line = []
    for column in shown:
        figure = column.figure(view)
        style = STATE_STYLES.get(figure, "") if column.title == "STATE" else ""
        cells.append((f" {column.text(figure):>{column.width}}", style))
        if column.title == "STATE" and view["problem"]:
            return [*cells, (texts.cut(f"  {view['problem']}", max(width - column.width - 1, 0)), "dim")]
    return [*cells, *((f"  {extra.text(view, extra.width)}", "dim") for extra in extras)]


class _Extra(NamedTuple):
    """A column for wide terminals, without an order."""

    title: str
    width: int
    text: Callable[[View, int], str]


def _extras(room: int) -> list[_Extra]:
    """Return the columns that fit in the room that is left."""
    extras = []
    if room >= _MODEL_WIDTH + 2 + _TREND_WIDTHS[0] + 2:
        extras.append(
            _Extra(
                "MODEL", _MODEL_WIDTH, lambda view, width: texts.cut(view["model"] or texts.UNKNOWN, width)
            )
        )
        room -= _MODEL_WIDTH + 2
    if room >= _TREND_WIDTHS[0] + 2:
        extras.insert(0, _Extra("OUT/S, 2 MIN", min(room - 2, _TREND_WIDTHS[1]), _trend))
    return extras


def _trend(view: View, width: int) -> str:
    history = view["history"]
    if not view["time"]:
        return " " * width
    row = texts.over_time(
        history["times"], history["generated_per_second"], width, view["time"], _TREND_SECONDS
    )
    return texts.chart(row)[0]
