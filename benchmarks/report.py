"""The table of results as Markdown, with the machine and versions it was measured on."""

import os
import platform
import re
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "performance.md"
_PACKAGES = ("prometheus-client", "prometheus-client-python-speedups", "aiohttp", "isal")


class Row(NamedTuple):
    """One case, with its figures as texts."""

    case: str
    ours: str
    stock: str = ""
    """The figure of prometheus_client's merge, or of a server that uses it."""
    rust_merge: str = ""
    """The figure of the Rust merge alone."""
    rust: str = ""
    """The figure of the Rust merge with the stock renderer."""
    ratio: str = ""
    target: str = ""
    met: bool | None = None
    """Whether the target was met; None if there is none."""


HEADINGS = (
    "case",
    "ours",
    "stock",
    "Rust merge alone",
    "Rust merge, stock renderer",
    "ratio to stock",
    "target",
    "met",
)


def cells(row: Row) -> tuple[str, ...]:
    """Return a row as texts."""
    return (*row[:-1], {True: "yes", False: "**no**", None: ""}[row.met])


def markdown(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table, its columns aligned so that it reads as plain text too."""
    table = [tuple(headings), *map(tuple, rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in table]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines) + "\n"


def milliseconds(seconds: float) -> str:
    """Return a duration in milliseconds, to about three significant digits."""
    return f"{seconds * 1e3:.{2 if seconds < 0.01 else 1 if seconds < 0.1 else 0}f} ms"


def times(ratio: float) -> str:
    """Return a ratio: `512x`."""
    return f"{ratio:,.0f}x" if ratio >= 10 else f"{ratio:.2f}x"


def machine() -> str:
    """Return processor, system and Python, as a phrase."""
    return (
        f"{_processor()}, {os.cpu_count()} cores, Linux {platform.release()}; "
        f"{platform.python_implementation()} {platform.python_version()}"
    )


def setting(repeats: int) -> str:
    """Return machine and versions, as a paragraph."""
    packages = ", ".join(f"{name} {_version(name)}" for name in _PACKAGES)
    return (
        f"Measured on {machine()}, {packages}. "
        f"Figures are medians of {repeats} repeats unless they say otherwise.\n"
    )


def write_into(page: Path, name: str, text: str) -> None:
    """Replace the text between `<!-- name: begin -->` and `<!-- name: end -->` of a page."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    pattern = f"({re.escape(begin)}\n).*?({re.escape(end)})"
    new, count = re.subn(
        pattern, lambda match: f"{match[1]}\n{text}\n{match[2]}", page.read_text(), flags=re.DOTALL
    )
    assert count == 1, f"{page} has no place for {name}"
    page.write_text(new)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed)"


def _processor() -> str:
    match = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return match[1] if match else platform.machine()
