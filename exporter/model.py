"""The data model: exposition formats, metric types, sample names, labels, and families with their values.

A family is named as in OpenMetrics, a counter without `_total`, except in functions that take a format.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple, TypeAlias

RESERVED_LABELS = ("le", "quantile", "pid", "worker_addr")
"""Label names with a fixed meaning, which users cannot add to all series."""

Labels: TypeAlias = tuple[tuple[str, str], ...]
"""(name, value) of each label."""


class Format(StrEnum):
    """An exposition format, by its media type."""

    TEXT_0_0_4 = "text/plain; version=0.0.4; charset=utf-8"
    TEXT_1_0_0 = "text/plain; version=1.0.0; charset=utf-8"
    OPENMETRICS_1_0_0 = "application/openmetrics-text; version=1.0.0; charset=utf-8"

    @property
    def is_openmetrics(self) -> bool:
        """Whether this format is OpenMetrics."""
        return self is Format.OPENMETRICS_1_0_0


STORED_SUFFIXES: Mapping[str, Collection[str]] = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_sum"),
    "summary": ("_count", "_sum"),
}
"""Suffixes that sample names in multiprocess files add to the family's name, by metric type.

prometheus_client stores neither a histogram's `_count`, the sum of its buckets, nor quantiles, nor `_created`.
"""

_TEXT_SUFFIXES = {
    "counter": ("",),  # the family's name has the `_total` already
    "gauge": ("",),
    "histogram": ("_bucket", "_count", "_sum"),
    "summary": ("", "_count", "_sum"),
    "unknown": ("",),
}
# `_created` samples are a part of their family in OpenMetrics 1.0, and gauge families of their own in the text formats.
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
"""Suffixes that sample names may add to the family's name, by format and metric type."""


def family_name(name: str, metric_type: str, format_: Format) -> str:
    """Return the family's name in that format: the text formats add `_total` to a counter's."""
    return f"{name}_total" if metric_type == "counter" and not format_.is_openmetrics else name


def names(name: str, metric_type: str, format_: Format = Format.OPENMETRICS_1_0_0) -> set[str]:
    """Return the family's name and all its possible sample names: no two families of an exposition may share one.

    `name` is the family's name in that format. Families that share no name in OpenMetrics share none in the text
    formats.
    """
    return {name, *(name + suffix for suffix in SUFFIXES[format_].get(metric_type, ()))}


def relabel(own: Mapping[str, str], added: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the `own` labels and the `added` ones; an own label whose name is added becomes `exported_<name>`.

    Prometheus treats a target's labels the same way where `honor_labels` is false, its default.
    """
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
    """Return the labels of `relabel`, sorted by name."""
    return tuple(map(_pair, sorted(relabel(own, added).items())))


@lru_cache(maxsize=2048)
def _pair(label: tuple[str, str]) -> tuple[str, str]:
    return label  # the cache makes equal labels one object: series have most of their labels in common


class Family:
    """A metric family's name, type and help text."""

    def __init__(self, name: str, metric_type: str, help_text: str) -> None:
        self.name = name
        self.type = metric_type
        self.help = help_text


Samples: TypeAlias = Iterable[tuple[str, Labels]]
"""Name and labels of each sample of a block."""


class FamilyValues(NamedTuple):
    """A family's samples and their values at one moment, in blocks. No two samples have the same name and labels."""

    family: Family
    samples: Sequence[Samples]
    """The samples of each block. Where samples came or went, the block's are a new object, and so is this sequence."""
    values: Sequence[Sequence[float]]
    """The values of each block, in the order of its samples. Where a value changed, the block's are a new object."""


Snapshot: TypeAlias = Sequence[FamilyValues]
"""All families, sorted by name, with their values at one moment; a new object whenever anything changed."""
