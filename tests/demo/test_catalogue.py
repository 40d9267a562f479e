"""The demo writes what a recorded worker wrote."""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.mmap_dict import MmapedDict

from exporter.demo.catalogue import ProcessMetrics, Role, load
from exporter.demo.processes import simulated_workers

RECORDED = Path(__file__).parent.parent / "data" / "sglang-tp8.tar.xz"

Process = frozenset[tuple[str, str]]
"""One process's series: (type and gauge mode, as in the file name; key, as in the file)."""


def written(directory: Path) -> set[Process]:
    processes: dict[str, set[tuple[str, str]]] = {}
    for file in directory.glob("*.db"):
        kind, pid = file.stem.rsplit("_", 1)
        entries = MmapedDict.read_all_values_from_file(str(file))
        keys = [key for key, *_ in entries]
        processes.setdefault(pid, set()).update((kind, key) for key in keys)
    return {frozenset(keys) for keys in processes.values()}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> set[Process]:
    directory = tmp_path_factory.mktemp("recorded")
    with tarfile.open(RECORDED) as archive:
        archive.extractall(directory, filter="data")
    return written(directory / "tp8")


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[set[Process]]:
    directory = tmp_path_factory.mktemp("simulated")
    with simulated_workers([directory], ranks=8):
        yield written(directory)


def test_every_process_writes_the_recorded_series(recorded: set[Process], simulated: set[Process]) -> None:
    # Types, gauge modes, families, samples, labels, buckets and HELP, process by process.
    assert len(recorded) == 9
    difference = {json.dumps(key) for ours in simulated - recorded for key in ours}
    assert simulated == recorded, sorted(difference)[:10]


def test_quirks_are_kept() -> None:
    specs = {spec.name: spec for spec in load().metrics}
    assert len(specs) == 126
    assert specs["sglang:routing_key_all_req_count"].labels == ("gt", "le")
    assert specs["sglang:num_retracted_reqs"].mode == "all"
    assert specs["sglang:num_requests"].type == "counter"
    assert specs["sglang:startup_time_seconds"].role is Role.SERVICER


def test_no_metric_has_two_rows() -> None:
    names = [spec.name for spec in load().metrics]
    assert len(names) == len(set(names))


def test_unknown_series_are_refused() -> None:
    metrics = ProcessMetrics(load(), Role.SERVICER)
    with pytest.raises(KeyError):
        metrics.counter("num_request", "true")
    with pytest.raises(KeyError):
        metrics.counter("num_requests", "perhaps")
    with pytest.raises(KeyError):
        metrics.gauge("token_usage")  # a scheduler's
