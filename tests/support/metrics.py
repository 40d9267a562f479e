"""Random metrics of all types and gauge modes, for hypothesis."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hypothesis import strategies as st
from prometheus_client.utils import floatToGoString

from exporter.multiproc.merge import RULES
from tests.support.files import sample_key

KINDS = sorted(RULES)


class Family(NamedTuple):
    """What processes agree on."""

    name: str
    kind: str
    help: str
    label_names: tuple[str, ...]


class Series(NamedTuple):
    """What one process has of one label set."""

    labels: Mapping[str, str]
    numbers: Sequence[float]
    """A value; count and sum; or a histogram's sum and buckets."""
    bounds: tuple[float, ...]
    stamp: float


# Exact in sums, so that the order of additions, in which the stock collector has no rule, makes no difference.
counts = st.integers(0, 2**20).map(float)
amounts = counts | st.integers(0, 2**40).map(lambda number: number / 8)
numbers = (
    amounts | amounts.map(lambda number: 0.0 - number) | st.sampled_from([math.inf, -math.inf, 1e300, 5e-324])
)
# Nobody says which process's NaN a minimum, a maximum or a tie takes.
numbers_of = {
    kind: numbers if "m" in kind.removeprefix("gauge_sum") else numbers | st.just(math.nan) for kind in KINDS
}
stamps = st.sampled_from([0.0, 1.0])

texts = st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(
    ['"', "\\", "\n", "\\n", "ü", "{}", ",="]
)
help_texts = texts.map(lambda text: f"Help {text}.")  # parsers strip spaces at its ends
names = st.from_regex(r"(sglang:)?[a-z][a-z_]{0,7}x", fullmatch=True)
label_names = st.lists(st.from_regex(r"[a-z][a-z0-9_]{0,5}x", fullmatch=True), unique=True, max_size=3).map(
    tuple
)
# No bound below zero: strict parsers allow no sum beside it.
bounds = st.sets(st.sampled_from([0.0, 0.25, 1.0, 100.0, 1e6, 1.5e7, 1e21]), min_size=1, max_size=4)

families = st.builds(Family, names, st.sampled_from(KINDS), help_texts, label_names)
all_families = st.lists(families, min_size=1, max_size=8, unique_by=lambda family: family.name)


@st.composite
def series_of(draw: st.DrawFn, family: Family) -> Series:
    """Draw one process's series of a family. Two processes' histograms may differ in buckets."""
    # Few values per label, so that processes meet.
    labels = {name: draw(st.sampled_from(["", "0"]) | texts) for name in family.label_names}
    if family.kind == "histogram":
        finite = sorted(draw(bounds))
        buckets = draw(
            st.lists(st.integers(0, 10**7).map(float), min_size=len(finite) + 1, max_size=len(finite) + 1)
        )
        return Series(labels, [draw(amounts), *buckets], (*finite, math.inf), 0.0)
    if family.kind == "summary":
        return Series(labels, [draw(counts), draw(amounts)], (), 0.0)
    if family.kind == "counter":
        return Series(labels, [draw(amounts)], (), 0.0)
    stamp = draw(stamps) if RULES[family.kind].stamped else 0.0
    return Series(labels, [draw(numbers_of[family.kind])], (), stamp)


def entries(family: Family, series: Series) -> dict[str, tuple[float, float]]:
    """Return the entries that prometheus_client's metric objects make of a series."""

    def key(suffix: str, **more: str) -> str:
        return sample_key(family.name, family.name + suffix, {**series.labels, **more}, family.help)

    if family.kind == "histogram":
        keys = [key("_sum"), *(key("_bucket", le=floatToGoString(bound)) for bound in series.bounds)]
    elif family.kind == "summary":
        keys = [key("_count"), key("_sum")]
    else:
        keys = [key("_total" if family.kind == "counter" else "")]
    return {name: (number, series.stamp) for name, number in zip(keys, series.numbers, strict=True)}
