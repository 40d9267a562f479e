"""Content negotiation: the headers Accept and Accept-Encoding -> the format, escaping and encoding of the answer.

`negotiate` follows RFC 9110, section 12.5, with the formats of Prometheus' specification of content negotiation. A
client that accepts no format of ours gets text 0.0.4, the last resort in that specification ("Selection of Format").
A rule of our own: a wildcard means text 0.0.4, since a client that names no newer format may not know any.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache

from exporter.model import Format


class Escaping(StrEnum):
    """An escaping scheme of Prometheus: how to write names with characters beyond `[a-zA-Z0-9_:]`."""

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
    """Format, escaping and encoding of a body. Equal ones give equal bodies, so a representation is a cache key."""

    format: Format
    escaping: Escaping
    encoding: Encoding
    names_escaping: bool = field(default=False, compare=False)
    """Whether the client named the escaping, so that the Content-Type must name it too; the body is the same."""

    @property
    def content_type(self) -> str:
        """The exact Content-Type of the body."""
        if self.format is Format.TEXT_0_0_4:
            return self.format
        implied = self.format is Format.OPENMETRICS_1_0_0 and self.escaping is Escaping.UNDERSCORES
        if implied and not self.names_escaping:
            return self.format
        return f"{self.format}; escaping={self.escaping}"


@lru_cache(maxsize=64)  # a scraper sends the same headers each time
def negotiate(accept: str | None, accept_encoding: str | None) -> Representation:
    """Return the best representation for the two headers, None for one that is absent. Never fails."""
    best = max(_candidates(accept or ""), key=_rank, default=_FALLBACK)
    encoding = _negotiate_encoding(accept_encoding or "")
    return Representation(best.format, best.escaping, encoding, names_escaping=best.names_escaping)


@dataclass(frozen=True)
class _Element:
    """One element of the list in an Accept or Accept-Encoding header."""

    value: str
    parameters: dict[str, str]
    quality: float


@dataclass(frozen=True)
class _Candidate:
    """A format and escaping that we have, and how an element of the Accept header asks for it."""

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
    """Return a key that orders candidates: by weight, then named types before wildcards, then as in the header."""
    return candidate.quality, candidate.specificity >= _TYPE, -candidate.position


def _candidates(accept: str) -> Iterable[_Candidate]:
    """Return all acceptable candidates; of several for one format and escaping, the first of the most specific."""
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
    """Return the candidate that an element of an Accept header asks for; None if we do not have its format."""
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
    """Return the escaping that an element names; None if it names none or, as in Prometheus, an unknown one."""
    try:
        return Escaping(element.parameters.get("escaping", ""))
    except ValueError:
        return None


def _negotiate_encoding(accept_encoding: str) -> Encoding:
    """Return gzip if the client accepts it and does not prefer identity."""
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
    """Yield the elements of a header in order, in lower case, without those with a malformed weight."""
    for text in _ELEMENT.findall(header):
        value, *parts = _PARAMETER.findall(text) or [""]
        parameters: dict[str, str] = {}
        for part in parts:
            name, _, argument = part.partition("=")
            # Of a repeated parameter, as Prometheus 3.0 sends one, the first counts.
            parameters.setdefault(name.strip().lower(), argument.strip().strip('"').lower())
        weight = parameters.pop("q", "1")
        if _QUALITY.fullmatch(weight):
            yield _Element(value.strip().lower(), parameters, float(weight))
