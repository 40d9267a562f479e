"""The layout of the status pages, and its pieces: sections, tables, and times and counts in words."""

from base64 import b64encode
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from html import escape
from pathlib import Path
from string import Template
from typing import NamedTuple
from urllib.parse import quote

from exporter import paths
from exporter.printable import printable


def _file(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


_STYLE, _SCRIPT = _file("style.css"), _file("engine_page.js")
_LAYOUT = Template(_file("page.html"))
CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'none'",
        f"style-src {_hash(_STYLE)}",
        f"script-src {_hash(_SCRIPT)}",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
    ]
)
"""What a page may do: apply the style and run the script that are in it, and ask its own server."""

_LINES = "\n"


class State(NamedTuple):
    """The headline of a status page."""

    tone: str
    """`up`, `down` or `unknown`: the CSS class that colours the headline."""
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
    engine: str = "",
    is_single: bool = True,
) -> str:
    """Return a status page at the time `now`, in Unix seconds.

    `engine` (HTML) is the engine view, of a single worker or of several; the rest is about the exporter. `figures` are
    pairs of a value (HTML) and its name (text). `sections` and the values of `details` are HTML.
    """
    return _LAYOUT.substitute(
        style=_STYLE,
        script=_SCRIPT,
        engine=engine,
        live="worker" if is_single else "workers",
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
    """Return sections side by side in two columns; narrow screens show one column."""
    return f'<div class="halves">\n{_LINES.join(sections)}\n</div>'


def endpoints(own: Iterable[tuple[str, str]], not_ready: str) -> str:
    """Return a section with a table of paths and their meanings: a daemon's `own`, and those that all have.

    `not_ready` says when readiness is 503.
    """
    meanings = (
        *own,
        (paths.STATUS, "this page as JSON"),
        (paths.READY[0], f"readiness: 503 {not_ready}"),
        (paths.HEALTHY[0], "health: 200 while the exporter runs"),
    )
    # Relative links work behind a proxy that adds a path prefix.
    rows = (
        row(f'<a class="path" href="{text("." + path)}">{code(path)}</a>', text(meaning))
        for path, meaning in meanings
    )
    return section("Endpoints", table(rows))


def problem(reason: str) -> str:
    """Return a line break and the reason, marked as a problem; an empty text for an empty reason."""
    return f'<br><span class="problem">{text(reason)}</span>' if reason else ""


def more(detail: str) -> str:
    """Return a detail on a line of its own, shortened where it is long; an empty text for an empty one."""
    return f'<span class="more" title="{text(detail)}">{text(detail)}</span>' if detail else ""


def rest(total: int, shown: int) -> str:
    """Return the line that stands for what a list of `total` entries leaves out after the first `shown`."""
    if total <= shown:
        return ""
    more = f"and {total - shown:,} more"
    return f'<p class="faint">{more}; <a href="./status.json">status.json</a> has all</p>'


def _definitions(details: Mapping[str, str]) -> str:
    lines = (f'<dt>{text(name)}</dt><dd class="mono">{value}</dd>' for name, value in details.items())
    return f"<dl>\n{_LINES.join(lines)}\n</dl>"


def listing(rows: Iterable[str], *heads: str) -> str:
    """Return a table whose first column has all the room there is, and whose third and later columns are numbers."""
    return table(rows, *heads, css="list")


def table(rows: Iterable[str], *heads: str, css: str = "") -> str:
    """Return a table; `rows` are HTML, `heads` the names of the columns, if they need any; `css` is a CSS class."""
    cells = "".join(f'<th scope="col">{text(head)}</th>' for head in heads)
    head = f"<thead><tr>{cells}</tr></thead>" if heads else ""
    return f"<table{css and f' class={css!r}'}>{head}<tbody>{''.join(rows)}</tbody></table>"


def row(*cells: str) -> str:
    """Return a table row; `cells` are HTML."""
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def bar(ratio: float | None, attributes: str = "") -> str:
    """Return a bar that is filled to a ratio, hidden if that is None; `attributes` (HTML) are the filled part's."""
    hidden = " hidden" if ratio is None else ""
    ratio = min(1.0, max(0.0, ratio or 0.0))
    return (
        f'<svg class="bar" aria-hidden="true"{hidden}><rect class="track" width="100%" height="100%"/>'
        f'<rect {attributes} width="{100 * ratio:.0f}%" height="100%"/></svg>'
    )


def query(value: str) -> str:
    """Return a text as the value of a query's parameter."""
    return quote(printable(value), safe="")


def code(value: str) -> str:
    """Return a text, escaped, as inline code."""
    return f"<code>{text(value)}</code>"


def text(value: str) -> str:
    """Return a text escaped for HTML, unprintable characters as backslash escapes."""
    return escape(printable(value))


def count(number: int, one: str, many: str) -> str:
    """Return a number with its noun: `1 file`, `1,200 files`."""
    return f"{number:,} {one if number == 1 else many}"


def time(moment: float) -> str:
    """Return a moment, in Unix seconds, as date and time."""
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S} UTC"


def duration(seconds: float) -> str:
    """Return a duration in seconds, or in milliseconds if it is below a second."""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.1f} ms"


def ago(moment: float | None, now: float) -> str:
    """Return how long ago a moment was, in its two leading units; a moment in the future is `just now`."""
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
