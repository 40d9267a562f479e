"""Directories that SGLang wrote, as we serve them and as prometheus_client's own collector merges them."""

import itertools
import math
import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.multiproc.collector import IncrementalCollector, metrics
from exporter.multiproc.engine import Engine
from tests.support.compare import facts, of_openmetrics, of_text, rendered


@pytest.fixture(params=["tp1", "tp8"])
def directory(request: pytest.FixtureRequest, recorded: dict[str, Path]) -> Path:
    return recorded[request.param]


@pytest.fixture
def engine(directory: Path) -> Engine:
    engine = IncrementalCollector(None, str(directory)).engine
    engine.update()
    return engine


def sample_lines(text: bytes) -> list[str]:
    return [line for line in text.decode().splitlines() if not line.startswith("#")]


def test_equal_to_stock(engine: Engine, directory: Path) -> None:
    stock = facts(MultiProcessCollector(None, str(directory)).collect())
    assert facts(metrics(engine.snapshot)) == stock
    text, openmetrics = rendered(engine.snapshot)
    assert of_text(text) == stock
    assert of_openmetrics(openmetrics) == stock
    assert sum(map(len, stock.values())) > 1000
    assert not engine.errors.total()


@pytest.mark.parametrize("escaping", ["underscores", "allow-utf-8", "values"])
def test_names_keep_their_colons(engine: Engine, escaping: str) -> None:
    for text in rendered(engine.snapshot, escaping):
        names = {re.split(r"[{ ]", line, maxsplit=1)[0] for line in sample_lines(text)}
        assert len(names) > 50
        assert all(name.startswith("sglang:") for name in names)


def test_no_series_is_there_twice(engine: Engine) -> None:
    for text in rendered(engine.snapshot):
        series = [line.rpartition(" ")[0] for line in sample_lines(text)]
        assert len(series) == len(set(series))


def test_families_are_whole_and_in_order(engine: Engine) -> None:
    for text in rendered(engine.snapshot):
        lines = text.decode().splitlines()
        typed = [line.split()[2].removesuffix("_total") for line in lines if line.startswith("# TYPE")]
        assert typed == sorted(set(typed))
        name = ""
        for line in lines:
            if line.startswith("# TYPE"):
                name = line.split()[2].removesuffix("_total")
            elif not line.startswith("#"):
                assert line.startswith(name)
    assert lines[-1] == "# EOF"
    assert lines.count("# EOF") == 1


def bounds(samples: Iterable[str]) -> list[str]:
    return [match[1] for match in map(re.compile(r'le="([^"]*)"').search, samples) if match]


def test_buckets_ascend_to_infinity(engine: Engine) -> None:
    text, openmetrics = rendered(engine.snapshot)
    assert [family for family in parse_text(text.decode()) if family.type == "histogram"]
    for lines in map(sample_lines, (text, openmetrics)):
        buckets = [line for line in lines if "_bucket{" in line]
        grouped = itertools.groupby(
            buckets, key=lambda line: re.sub(r',?le="[^"]*"', "", line).rpartition(" ")[0]
        )
        seen = set()
        for series, group in grouped:
            assert series not in seen, "its buckets do not stand together"
            seen.add(series)
            members = list(group)
            numbers = [float(bound) for bound in bounds(members)]
            assert numbers == sorted(set(numbers))
            assert numbers[-1] == math.inf
            counts = [float(line.rpartition(" ")[2]) for line in members]
            assert counts == sorted(counts)


def test_nothing_changes_when_nothing_changes(engine: Engine) -> None:
    before = rendered(engine.snapshot)
    engine.update()
    assert not engine.observed_change
    assert rendered(engine.snapshot) == before
