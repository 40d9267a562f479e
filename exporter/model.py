"""The data model: types, the names that a family takes up in each format, labels, and what families say at one moment.

Families are called as OpenMetrics calls them, a counter without its `_total`, unless a function takes a format.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple, TypeAlias

RESERVED_LABELS = ("le", "quantile", "pid", "worker_addr")
"""Labels that have a meaning of their own."""

Labels: TypeAlias = tuple[tuple[str, str], ...]
"""Label names and values."""


class Format(StrEnum):
    """An exposition format, by its media type."""

    TEXT_0_0_4 = "text/plain; version=0.0.4; charset=utf-8"
    TEXT_1_0_0 = "text/plain; version=1.0.0; charset=utf-8"
    OPENMETRICS_1_0_0 = "application/openmetrics-text; version=1.0.0; charset=utf-8"

    @property
    def is_openmetrics(self) -> bool:
        """Whether it is OpenMetrics."""
        return self is Format.OPENMETRICS_1_0_0


STORED_SUFFIXES: Mapping[str, Collection[str]] = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_sum"),
    "summary": ("_count", "_sum"),
}
"""What follows a family's name in the names of the samples that a multiprocess file holds, by type.

A histogram's count is the sum of its buckets, and prometheus_client's summaries have no quantiles.
"""

_TEXT_SUFFIXES = {
    "counter": ("",),  # the family is called as its samples
    "gauge": ("",),
    "histogram": ("_bucket", "_count", "_sum"),
    "summary": ("", "_count", "_sum"),
    "unknown": ("",),
}
_OPENMETRICS_SUFFIXES = {
    "counter": ("_total", "_created"),
    "gauge": ("",),
    "histogram": ("_bucket", "_count", "_sum", "_created"),
    "summary": ("", "_count", "_sum", "_created"),
    "unknown": ("",),
}
SUFFIXES: Mapping[Format, Mapping[str, Collection[str]]] = {
    Format.TEXT_0_0_4: _TEXT_SUFFIXES,
    Format.TEXT_1_0_0: _TEXT_SUFFIXES,
    Format.OPENMETRICS_1_0_0: _OPENMETRICS_SUFFIXES,
}
"""What may follow a family's name in the names of its samples, by format and type."""


def family_name(name: str, metric_type: str, format_: Format) -> str:
    """Return what a format calls a family."""
    return f"{name}_total" if metric_type == "counter" and not format_.is_openmetrics else name


def names(name: str, metric_type: str, format_: Format = Format.OPENMETRICS_1_0_0) -> set[str]:
    """Return every name that a family takes up in a format, which calls it `name`: two families must share none.

    What is free in OpenMetrics is free in the text formats too.
    """
    return {name, *(name + suffix for suffix in SUFFIXES[format_].get(metric_type, ()))}


def relabel(own: Mapping[str, str], added: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Add labels; an own one of an added name moves to `exported_<name>`, as Prometheus does it."""
    labels = dict(own)
    for name, value in added:
        if name in labels:
            kept = name
            while kept in labels:
                kept = f"exported_{kept}"
            labels[kept] = labels[name]
        labels[name] = value
    return labels


def add_labels(own: Mapping[str, str], added: Iterable[tuple[str, str]]) -> Labels:
    """Return the same, sorted by name."""
    return tuple(map(_pair, sorted(relabel(own, added).items())))


@lru_cache(maxsize=4096)
def _pair(label: tuple[str, str]) -> tuple[str, str]:
    return label  # the same object for equal labels: most series share most of theirs


class Family:
    """A metric family, but for the samples."""

    def __init__(self, name: str, metric_type: str, help_text: str) -> None:
        self.name = name
        self.type = metric_type
        self.help = help_text


Samples: TypeAlias = Iterable[tuple[str, Labels]]
"""Name and labels of each of some samples."""


class FamilyValues(NamedTuple):
    """A family and the values of its samples at one moment, in blocks. No two samples are the same."""

    family: Family
    samples: Sequence[Samples]
    """The samples by block; one of them is another object, and so is all, when a sample came or went."""
    values: Sequence[Sequence[float]]
    """The values by block, in the order of the samples; another object when a value is another."""


Snapshot: TypeAlias = Sequence[FamilyValues]
"""Families by name, and what they say at one moment; another object when anything changed."""
