"""What a scraper accepts -> which format, escaping and encoding it gets.

`negotiate` follows RFC 9110, section 12.5, over the formats of Prometheus' content negotiation specification.
Two rules are ours: a wildcard means text 0.0.4, since a client that does not name a newer format may not know
it; and a client that accepts nothing we have gets text 0.0.4 too, since it may well read it.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache

from exporter.model import Format


class Escaping(StrEnum):
    """How names beyond the legacy character set are written."""

    UNDERSCORES = "underscores"
    ALLOW_UTF_8 = "allow-utf-8"
    DOTS = "dots"
    VALUES = "values"


class Encoding(StrEnum):
    """A content coding."""

    IDENTITY = "identity"
    GZIP = "gzip"


@dataclass(frozen=True)
class Representation:
    """What one scrape is answered in. Equal representations have equal bodies, so a representation is a cache key."""

    format: Format
    escaping: Escaping
    encoding: Encoding
    names_escaping: bool = field(default=False, compare=False)
    """Whether the client named the escaping: the Content-Type then says it too; the body is the same."""

    @property
    def content_type(self) -> str:
        """The exact Content-Type of the body."""
        if self.format is Format.TEXT_0_0_4:
            return self.format
        implied = self.format is Format.OPENMETRICS_1_0_0 and self.escaping is Escaping.UNDERSCORES
        if implied and not self.names_escaping:
            return self.format
        return f"{self.format}; escaping={self.escaping}"


@lru_cache(maxsize=64)  # a scraper says the same each time
def negotiate(accept: str | None, accept_encoding: str | None) -> Representation:
    """Return the best representation for the two headers; None stands for an absent one. Never fails."""
    best = max(_candidates(accept or ""), key=_rank, default=_FALLBACK)
    encoding = _negotiate_encoding(accept_encoding or "")
    return Representation(best.format, best.escaping, encoding, names_escaping=best.names_escaping)


@dataclass(frozen=True)
class _Element:
    """One entry of an Accept or Accept-Encoding header."""

    value: str
    parameters: dict[str, str]
    quality: float


@dataclass(frozen=True)
class _Candidate:
    """A representation we have, and what the most specific entry that names it says of it."""

    format: Format
    escaping: Escaping
    names_escaping: bool
    quality: float
    specificity: int
    position: int


_FALLBACK = _Candidate(
    Format.TEXT_0_0_4, Escaping.UNDERSCORES, names_escaping=False, quality=1, specificity=0, position=0
)

_ANYTHING, _ANY_TEXT, _TYPE, _TYPE_AND_VERSION = range(4)

_BY_MEDIA_TYPE = {
    ("*/*", ""): (Format.TEXT_0_0_4, _ANYTHING),
    ("text/*", ""): (Format.TEXT_0_0_4, _ANY_TEXT),
    ("text/plain", ""): (Format.TEXT_0_0_4, _TYPE),
    ("text/plain", "0.0.4"): (Format.TEXT_0_0_4, _TYPE_AND_VERSION),
    ("text/plain", "1.0.0"): (Format.TEXT_1_0_0, _TYPE_AND_VERSION),
    ("application/openmetrics-text", ""): (Format.OPENMETRICS_1_0_0, _TYPE),
    ("application/openmetrics-text", "1.0.0"): (Format.OPENMETRICS_1_0_0, _TYPE_AND_VERSION),
}
"""(media range, version) -> the format it asks for, and how specific it is."""


def _rank(candidate: _Candidate) -> tuple[float, bool, int]:
    """Order candidates: by weight, then a named type before a wildcard, then as the header lists them."""
    return candidate.quality, candidate.specificity >= _TYPE, -candidate.position


def _candidates(accept: str) -> Iterable[_Candidate]:
    """Return what `accept` allows of what we have: the most specific entry decides, the first of equals."""
    named: dict[tuple[Format, Escaping], _Candidate] = {}
    for position, element in enumerate(_elements(accept)):
        candidate = _candidate(element, position)
        if candidate is None:
            continue
        key = candidate.format, candidate.escaping
        if key not in named or candidate.specificity > named[key].specificity:
            named[key] = candidate
    return (candidate for candidate in named.values() if candidate.quality > 0)


def _candidate(element: _Element, position: int) -> _Candidate | None:
    """Return what one entry of an Accept header asks for; None where we do not have it."""
    version = "" if element.value.endswith("/*") else element.parameters.get("version", "")
    match = _BY_MEDIA_TYPE.get((element.value, version))
    if match is None:
        return None
    format_, specificity = match
    escaping = None if format_ is Format.TEXT_0_0_4 else _escaping(element)
    return _Candidate(
        format_,
        escaping or Escaping.UNDERSCORES,
        names_escaping=escaping is not None,
        quality=element.quality,
        specificity=specificity,
        position=position,
    )


def _escaping(element: _Element) -> Escaping | None:
    """Return the escaping an entry names; None for none and, as Prometheus has it, for one nobody knows."""
    try:
        return Escaping(element.parameters.get("escaping", ""))
    except ValueError:
        return None


def _negotiate_encoding(accept_encoding: str) -> Encoding:
    """Return gzip where it is accepted and identity is not wanted more."""
    quality: dict[str, float] = {}
    for element in _elements(accept_encoding):
        quality.setdefault("gzip" if element.value == "x-gzip" else element.value, element.quality)
    gzip = quality.get("gzip", quality.get("*", 0.0))
    identity = quality.get("identity", 0.0)
    return Encoding.GZIP if gzip > 0 and gzip >= identity else Encoding.IDENTITY


# Each alternative starts with a character no other can start with: one pass, no backtracking.
_QUOTED = r'"(?:[^"\\]|\\.)*"?'
_ELEMENT = re.compile(rf'(?:[^,"]|{_QUOTED})+')
_PARAMETER = re.compile(rf'(?:[^;"]|{_QUOTED})+')
_QUALITY = re.compile(r"0?\.[0-9]+|0\.?|1(?:\.0*)?", re.ASCII)


def _elements(header: str) -> Iterator[_Element]:
    """Yield a header's entries in order, lower case; those with a malformed weight are left out."""
    for text in _ELEMENT.findall(header):
        value, *parts = _PARAMETER.findall(text) or [""]
        parameters: dict[str, str] = {}
        for part in parts:
            name, _, argument = part.partition("=")
            # Prometheus 3.0 repeats a parameter: the first counts.
            parameters.setdefault(name.strip().lower(), argument.strip().strip('"').lower())
        weight = parameters.pop("q", "1")
        if _QUALITY.fullmatch(weight):
            yield _Element(value.strip().lower(), parameters, float(weight))
