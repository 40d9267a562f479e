"""Pieces of HTML that pages are made of: tables, and times and counts in words."""

from collections.abc import Iterable
from datetime import UTC, datetime
from html import escape
from importlib.resources import files

from exporter.printable import printable

STYLE = files("exporter.web").joinpath("style.css").read_text(encoding="utf-8")
"""The style sheet of all pages."""


def table(rows: Iterable[str]) -> str:
    """Return a table of rows that are HTML."""
    return f"<table>{''.join(rows)}</table>"


def row(*cells: str) -> str:
    """Return a table's row of cells that are HTML."""
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def code(value: str) -> str:
    """Return any text as code."""
    return f"<code>{text(value)}</code>"


def text(value: str) -> str:
    """Return any text, file names above all, as harmless HTML."""
    return escape(printable(value))


def count(number: int, one: str, many: str) -> str:
    """Return a number of things, in words: `1 file`, `1,200 files`."""
    return f"{number:,} {one if number == 1 else many}"


def time(moment: float) -> str:
    """Return a moment, in Unix seconds, as date and time."""
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S} UTC"


def duration(seconds: float) -> str:
    """Return a duration in the unit that suits it."""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.1f} ms"


def ago(moment: float | None, now: float) -> str:
    """Return how long ago a moment was, in its two leading units; clocks that disagree make it `just now`."""
    if moment is None:
        return "never"
    seconds = int(now - moment)
    if seconds < 1:
        return "just now"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if days:
        return f"{days} d {hours % 24} h ago"
    if hours:
        return f"{hours} h {minutes % 60} min ago"
    return f"{minutes} min ago" if minutes else f"{seconds} s ago"
