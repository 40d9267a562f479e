"""What the key of an entry means: which series of which family its number belongs to, and as what."""

import json
import math
from collections.abc import Mapping
from typing import NamedTuple

from exporter.model import STORED_SUFFIXES
from exporter.multiproc.faults import BadKeyError

SUM = -math.inf
"""The column of a histogram's sum, ahead of its buckets, whose columns are their bounds."""

_decode_json = json.JSONDecoder().decode


class Meaning(NamedTuple):
    """What a key says."""

    family: str
    help: str
    sample: str
    """The sample's name; a histogram's family's name."""
    labels: Mapping[str, str]
    """The series' own labels: a bucket's without its bound."""
    column: float
    """Which number of the series it is: SUM, a bucket's bound, or 0 where there is just one."""


def read_key(key: bytes, metric_type: str) -> Meaning:
    """Return what a key in a file of that type means; BadKeyError where it means nothing."""
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
        "".join(texts).encode()  # refuses what is no text, and lone surrogates, which no exposition can carry
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise BadKeyError("bad_key", f"a key is not [family, sample, labels, help]: {error}") from None
    if not (family and sample and all(labels)):
        raise BadKeyError("bad_key", "a key has an empty name")
    return family, sample, labels, help_text
