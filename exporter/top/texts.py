"""Figures as short texts: numbers, durations, bars and charts. What is unknown is a dash, never 0."""

import math
from collections.abc import Sequence
from typing import TypeAlias

from exporter.printable import printable

UNKNOWN = "-"

Span: TypeAlias = tuple[str, str]
"""A text and its style: `""`, `title`, `dim`, `good`, `bad` or `chosen`."""
Line: TypeAlias = list[Span]

_UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
_ALMOST = 0.9995
"""Part of a unit from which on numbers are written in it: in the next smaller one they would take four digits."""
_DECIMALS = ((9.995, 2), (99.95, 1))
"""Limits below which a number gets so many decimals, to have three digits."""
_BLOCKS = " ▁▂▃▄▅▆▇█"


def number(value: float | None) -> str:
    """Return a number in three digits: `0.04`, `6.7`, `21`, `152`, `1.52k`."""
    if value is None:
        return UNKNOWN
    for factor, unit in _UNITS:
        if abs(value) >= _ALMOST * factor:
            return f"{_three_digits(value / factor)}{unit}"
    return _three_digits(value)


def percent(ratio: float | None) -> str:
    """Return a ratio in percent: `45%`."""
    return UNKNOWN if ratio is None else f"{100 * ratio:.0f}%"


def duration(seconds: float | None) -> str:
    """Return a duration in three digits: `0.40 ms`, `180 ms`, `2.5 s`."""
    if seconds is None:
        return UNKNOWN
    is_short = seconds < _ALMOST
    return f"{_three_digits(1000 * seconds)} ms" if is_short else f"{_three_digits(seconds)} s"


def bar(ratio: float | None, width: int) -> str:
    """Return a ratio from 0 to 1 as a bar on a scale of `width` characters."""
    if ratio is None:
        return " " * width
    eighths = round(8 * width * min(max(ratio, 0.0), 1.0))
    full, rest = divmod(eighths, 8)
    return ("█" * full + ("" if not rest else "▏▎▍▌▋▊▉"[rest - 1])).ljust(width, "·")


def chart(values: Sequence[float | None], height: int = 1, top: float | None = None) -> list[str]:
    """Return values, one a column, as a chart of `height` lines, the highest line first; unknown values leave gaps.

    The scale goes from 0 to `top`, by default to the greatest value. The highest line is never full, so that charts
    below each other stay apart.
    """
    most = top or max((value for value in values if value is not None), default=0.0) or 1.0
    levels = [None if value is None else _level(value / most, 8 * height - 1) for value in values]
    return [
        "".join(" " if level is None else _BLOCKS[min(max(level - 8 * row, 0), 8)] for level in levels)
        for row in reversed(range(height))
    ]


def _level(ratio: float, most: int) -> int:
    return max(min(math.ceil(ratio * most), most), 1)  # 0 is a line at the bottom: it is known


def over_time(
    times: Sequence[float], values: Sequence[float | None], width: int, end: float, span: float
) -> list[float | None]:
    """Return the values of `width` equal parts of the `span` seconds up to `end`: the mean of each part's values.

    A part without values of its own has the value before it, since a history is coarser with age.
    """
    parts: list[list[float]] = [[] for _ in range(width)]
    is_known = [False] * width
    for time, value in zip(times, values, strict=True):
        place = math.ceil(width * (time - end + span) / span) - 1
        if 0 <= place < width:
            is_known[place] = True
            if value is not None:
                parts[place].append(value)
    row: list[float | None] = []
    for known, part in zip(is_known, parts, strict=True):
        before = row[-1] if row else None
        row.append(sum(part) / len(part) if part else None if known else before)
    return row


def cut(text: str, width: int) -> str:
    """Return a text of others in `width` characters: made printable, and padded, or its end replaced by an ellipsis."""
    text = printable(text)
    return text.ljust(width) if len(text) <= width else f"{text[: max(width - 1, 0)]}…"


def length(line: Line) -> int:
    """Return the number of characters of a line."""
    return sum(len(text) for text, _ in line)


def plain(line: Line) -> str:
    """Return a line without its styles."""
    return "".join(text for text, _ in line).rstrip()


def _three_digits(value: float) -> str:
    decimals = next((count for limit, count in _DECIMALS if abs(value) < limit), 0)
    return f"{value:.{0 if value.is_integer() else decimals}f}"
