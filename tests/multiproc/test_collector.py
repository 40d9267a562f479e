import os
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from exporter.multiproc.collector import IncrementalCollector
from tests.support.compare import facts, values
from tests.support.files import counter, process, write


def test_it_is_a_multi_process_collector_of_a_registry(tmp_path: Path) -> None:
    with process(tmp_path, 1) as registry:
        Counter("c", "A counter.", registry=registry).inc(3)
    registry = CollectorRegistry()
    collector = IncrementalCollector(registry, str(tmp_path))
    assert isinstance(collector, MultiProcessCollector)
    assert generate_latest(registry) == b"# HELP c_total A counter.\n# TYPE c_total counter\nc_total 3.0\n"


def test_no_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    for path in (None, str(tmp_path / "nowhere")):
        with pytest.raises(ValueError, match="PROMETHEUS_MULTIPROC_DIR"):
            IncrementalCollector(None, path)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    assert list(IncrementalCollector(None).collect()) == []


def test_as_a_process_goes_on(tmp_path: Path) -> None:
    collector = IncrementalCollector(None, str(tmp_path))
    with process(tmp_path, 1) as registry:
        requests = Counter("requests", "Requests.", ["route"], registry=registry)
        load = Gauge("load", "Load.", registry=registry, multiprocess_mode="mostrecent")
        size = Histogram("size", "Size.", buckets=[1, 2], registry=registry)
        wait = Summary("wait", "Wait.", registry=registry)
        for number in range(5):
            requests.labels(f"/{number}").inc()
            requests.labels("/0").inc(number)
            load.set(number)
            size.observe(number)
            wait.observe(number)
            assert facts(collector.collect()) == facts(MultiProcessCollector(None, str(tmp_path)).collect())


def test_a_registry_that_describes_at_once_can_have_it(tmp_path: Path) -> None:
    write(tmp_path / "counter_1.db", {counter("a"): 1.0})
    registry = CollectorRegistry(auto_describe=True)
    IncrementalCollector(registry, str(tmp_path))
    assert b"a_total 1.0" in generate_latest(registry)


def test_options_are_the_engines(tmp_path: Path) -> None:
    write(tmp_path / "counter_1.db", {counter("a"): 1.0, counter("up"): 1.0})
    write(tmp_path / "counter_2.db", {counter("b"): 1.0})
    os.truncate(tmp_path / "counter_2.db", 2**20)
    collector = IncrementalCollector(
        None,
        str(tmp_path),
        labels=[("zone", "z")],
        per_process=True,
        max_file_size=2**19,
        reserved_names=["up"],
    )
    assert values(collector.collect()) == {("a_total", (("pid", "1"), ("zone", "z"))): 1.0}
