"""The meaning of an entry's key: the family, series and column that the entry's cell belongs to."""

import json
import math
from collections.abc import Mapping
from typing import NamedTuple

from exporter.model import STORED_SUFFIXES
from exporter.multiproc.faults import BadKeyError

SUM = -math.inf
"""The column of a histogram's sum; it sorts before the columns of the buckets, which are their upper bounds."""

_decode_json = json.JSONDecoder().decode


class Meaning(NamedTuple):
    """A key, parsed."""

    family: str
    help: str
    sample: str
    """The sample's name; for a histogram, the family's name."""
    labels: Mapping[str, str]
    """The labels in the key, without a bucket's `le`."""
    column: float
    """The column within the series: SUM or a bucket's upper bound; 0 if the series has only one column."""


def read_key(key: bytes, metric_type: str) -> Meaning:
    """Parse a key of a file with metrics of that type; raises BadKeyError."""
    family, sample, labels, help_text = _parse(key)
    suffix = sample.removeprefix(family)
    if not sample.startswith(family) or suffix not in STORED_SUFFIXES[metric_type]:
        raise BadKeyError("bad_key", f"{sample!r} is no sample of a {metric_type} {family!r}")
    if metric_type != "histogram":
        return Meaning(family, help_text, sample, labels, 0.0)
    if suffix == "_sum":
        return Meaning(family, help_text, family, labels, SUM)
    try:
        bound = float(labels.pop("le"))
    except (KeyError, ValueError):
        bound = math.nan
    if not bound > SUM:
        raise BadKeyError("bad_key", f"a bucket of {family!r} has no upper bound `le`")
    return Meaning(family, help_text, family, labels, bound)


def _parse(key: bytes) -> tuple[str, str, dict[str, str], str]:
    try:
        family, sample, labels, help_text = _decode_json(key.decode())
        texts = (family, sample, help_text, *labels, *labels.values())
        "".join(texts).encode()  # raises if a part is no text, or has a lone surrogate, which is not UTF-8
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise BadKeyError("bad_key", f"a key is not [family, sample, labels, help]: {error}") from None
    if not (family and sample and all(labels)):
        raise BadKeyError("bad_key", "a key has an empty name")
    return family, sample, labels, help_text
