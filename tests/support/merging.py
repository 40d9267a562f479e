"""Expositions of workers as hypothesis draws them, their merge, and a slow merge of them to compare with."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.fleet.merge import merge
from exporter.model import Format
from exporter.scraping.reading import BodyReader, Reading
from tests.support.compare import Facts, facts

TEXT, OPENMETRICS = Format.TEXT_0_0_4, Format.OPENMETRICS_1_0_0

Series: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]

TYPES = ("counter", "gauge", "histogram", "summary", "untyped")
BOUNDS = ("0.1", "1.0", "+Inf")


@dataclass
class Family:
    """A family as a worker writes it."""

    name: str
    type: str
    help: str
    samples: list[tuple[str, dict[str, str], str]] = field(default_factory=list)

    def text(self) -> str:
        escaped = self.help.replace("\\", r"\\").replace("\n", r"\n")
        lines = [f"# HELP {self.name} {escaped}", f"# TYPE {self.name} {self.type}"]
        lines += [f"{name}{braces(labels)} {value}" for name, labels, value in self.samples]
        return "".join(f"{line}\n" for line in lines)


def braces(labels: dict[str, str]) -> str:
    pairs = [f'{name}="{escape(value)}"' for name, value in labels.items()]
    return f"{{{','.join(pairs)}}}" if pairs else ""


def escape(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


# Names with all that troubles parsers, of which none is a sample's name of another.
NAMES = ("sglang:a", "B:Upper", "x_count", "_y", "z_seconds", "q_sum_total", "created")
LABEL_NAMES = ("a", "Model", "worker_addr", "_x", "zone", "pid")
LABEL_VALUES = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
    st.sampled_from(
        ["a}b{", ',worker_addr="x"} ', 'q"uo\\te', "two\nlines", "x,worker_addr=", "# HELP", "\r", "ü"]
    ),
)
NUMBERS = st.one_of(
    st.integers(0, 10**6).map(str),
    st.floats(0, allow_nan=False).map(repr),
    st.sampled_from(["NaN", "+Inf", "1e+06"]),
)
HELPS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8).map(str.strip)


@st.composite
def families(draw: st.DrawFn) -> Family:
    family = Family(draw(st.sampled_from(NAMES)), draw(st.sampled_from(TYPES)), draw(HELPS))
    if family.type == "counter":
        family.name += "_c_total"  # whose shorter name, as the parser has it, is no other family's
    label_sets = draw(
        st.lists(
            st.dictionaries(st.sampled_from(LABEL_NAMES), LABEL_VALUES, max_size=3),
            max_size=3,
            unique_by=braces,
        )
    )
    for labels in label_sets:
        if family.type == "histogram":
            counts = sorted(draw(st.lists(st.integers(0, 99), min_size=len(BOUNDS), max_size=len(BOUNDS))))
            family.samples += [
                (f"{family.name}_bucket", {**labels, "le": bound}, f"{count}.0")
                for bound, count in zip(BOUNDS, counts, strict=True)
            ]
            family.samples.append((f"{family.name}_count", labels, f"{counts[-1]}.0"))
        elif family.type == "summary":
            family.samples.append((family.name, {**labels, "quantile": "0.5"}, draw(NUMBERS)))
            family.samples.append((f"{family.name}_count", labels, str(draw(st.integers(0, 99)))))
        else:
            family.samples.append((family.name, labels, draw(NUMBERS)))
        if family.type in {"histogram", "summary"}:
            family.samples.append((f"{family.name}_sum", labels, draw(st.integers(0, 99).map(str))))
    return family


def expositions() -> st.SearchStrategy[bytes]:
    """Draw the body of a worker."""
    return st.lists(families(), max_size=4, unique_by=lambda family: family.name).map(
        lambda drawn: "".join(family.text() for family in drawn).encode()
    )


def slow_merge(bodies: Sequence[bytes], addresses: Sequence[str]) -> Facts:
    """Return what the merge has to say, found out with prometheus_client's parser and objects."""
    metrics: dict[str, Metric] = {}
    series: set[Series] = set()
    for body, address in zip(bodies, addresses, strict=True):
        for metric in parse_text(body.decode()):
            merged = metrics.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
            if merged.type != metric.type:
                continue
            for sample in metric.samples:
                labels = {**sample.labels, "worker_addr": address}
                if (key := series_key(sample.name, labels)) not in series:
                    series.add(key)
                    merged.add_sample(sample.name, labels, sample.value)
    return facts(metrics.values())


def series_key(name: str, labels: dict[str, str]) -> Series:
    return name, tuple(sorted((label, value) for label, value in labels.items() if value))


def recorded_text(directory: Path) -> bytes:
    """Return what prometheus_client says of a recorded worker."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(directory))
    return generate_latest(registry)


def merged(*bodies: bytes, format_: Format = TEXT, labels: Iterable[tuple[str, str]] = ()) -> str:
    """Return the merge of bodies of workers grpc://w0:1, grpc://w1:1, ..."""
    return b"".join(merge(read_all(bodies, labels), format_)[0]).decode()


def read_all(bodies: Iterable[bytes], labels: Iterable[tuple[str, str]] = ()) -> list[Reading]:
    reader = BodyReader(tuple(labels))
    return [reader.read(body, b"grpc://w%d:1" % number) for number, body in enumerate(bodies)]


def faults(*bodies: bytes) -> dict[str, int]:
    """Return what is left out, in reading and in merging."""
    readings = read_all(bodies)
    total = merge(readings, TEXT)[1]
    for reading in readings:
        total.update(reading.layout.faults)
    return dict(total)
