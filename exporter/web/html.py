"""The layout of the status pages, and the pieces they are made of: tables, and times and counts in words."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from string import Template
from typing import NamedTuple

from exporter.printable import printable

_STYLE = files("exporter.web").joinpath("style.css").read_text(encoding="utf-8")
_LAYOUT = Template(files("exporter.web").joinpath("page.html").read_text(encoding="utf-8"))
_LINES = "\n"
LONGEST_LIST = 500
"""Rows of a list; beyond, a count. The whole lists are in /status.json."""


class State(NamedTuple):
    """How things are, at a glance."""

    tone: str
    """`up`, `down` or `unknown`: its colour."""
    headline: str
    remark: str


def page(
    program: str,
    state: State,
    *,
    version: str,
    started: float,
    now: float,
    figures: Iterable[tuple[str, str]],
    sections: Iterable[str],
    title: str = "",
    details: Mapping[str, str] | None = None,
) -> str:
    """Return a status page of one moment, `now` in Unix seconds.

    `figures` are values, as HTML, and what each counts; `sections` and the values of `details` are HTML.
    """
    return _LAYOUT.substitute(
        style=_STYLE,
        title=text(title or state.headline),
        program=text(program),
        version=text(version),
        as_of=f"{time(now)}, started {ago(started, now)}",
        tone=state.tone,
        headline=text(state.headline),
        remark=text(state.remark),
        details=_definitions(details) if details else "",
        figures="".join(
            f'<p><b>{value}</b><span class="faint">{text(name)}</span></p>' for value, name in figures
        ),
        sections="\n".join(sections),
    )


def section(heading: str, content: str) -> str:
    """Return a section of HTML content."""
    return f"<section><h2>{text(heading)}</h2>{content}</section>"


def halves(*sections: str) -> str:
    """Return sections in two columns, where there is room."""
    return f'<div class="halves">\n{_LINES.join(sections)}\n</div>'


def endpoints(meanings: Iterable[tuple[str, str]]) -> str:
    """Return a section of paths and what is there."""
    # Relative, so that they hold behind a proxy's path prefix.
    rows = (
        row(f'<a href="{text("." + path)}">{code(path)}</a>', text(meaning)) for path, meaning in meanings
    )
    return section("Endpoints", table(rows))


def problem(reason: str) -> str:
    """Return a line that says what is wrong, below another; nothing where nothing is."""
    return f'<br><span class="problem">{text(reason)}</span>' if reason else ""


def rest(total: int) -> str:
    """Return the line that stands for what a list of `total` entries leaves out."""
    if total <= LONGEST_LIST:
        return ""
    more = f"and {total - LONGEST_LIST:,} more"
    return f'<p class="faint">{more}; <a href="./status.json">status.json</a> has all</p>'


def _definitions(details: Mapping[str, str]) -> str:
    lines = (f'<dt>{text(name)}</dt><dd class="mono">{value}</dd>' for name, value in details.items())
    return f"<dl>\n{_LINES.join(lines)}\n</dl>"


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
