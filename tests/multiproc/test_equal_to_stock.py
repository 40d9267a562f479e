"""Random metrics, merged by us and by prometheus_client's own collector."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.multiprocess import MultiProcessCollector

from exporter.multiproc.collector import IncrementalCollector
from tests.support import metrics
from tests.support.compare import Facts, facts, of_openmetrics, of_stock, of_text, rendered
from tests.support.files import write

PIDS = ("1", "22", "333")


@st.composite
def workers(draw: st.DrawFn) -> list[tuple[str, dict[str, tuple[float, float]]]]:
    """Draw what each process writes, in order: (file name, entries)."""
    written: list[tuple[str, dict[str, tuple[float, float]]]] = []
    for family in draw(metrics.all_families):
        for pid in draw(st.lists(st.sampled_from(PIDS), max_size=3, unique=True)):
            for series in draw(st.lists(metrics.series_of(family), max_size=3)):
                stamp = series.stamp and len(written) + 1.0  # of a tie nobody knows who is the latest
                entries = metrics.entries(family, series._replace(stamp=stamp))
                written.append((f"{family.kind}_{pid}.db", entries))
    return draw(st.permutations(written))


def write_all(directory: str, written: Iterable[tuple[str, dict[str, tuple[float, float]]]]) -> None:
    together: defaultdict[str, dict[str, tuple[float, float]]] = defaultdict(dict)
    for name, entries in written:
        together[name].update(entries)
    for name, entries in together.items():
        write(Path(directory, name), entries)


def with_samples(said: Facts) -> Facts:
    return {family: samples for family, samples in said.items() if samples}


@given(workers())
def test_equal(written: list[tuple[str, dict[str, tuple[float, float]]]]) -> None:
    with TemporaryDirectory() as directory:
        write_all(directory, written)
        stock = facts(MultiProcessCollector(None, directory).collect())
        collector = IncrementalCollector(None, directory)
        assert facts(collector.collect()) == stock
        assert not collector.engine.errors.total()
        text, openmetrics = rendered(collector.engine.snapshot)
        assert of_text(text) == stock
        assert of_openmetrics(openmetrics) == stock


@given(workers())
def test_equal_when_written_step_by_step(written: list[tuple[str, dict[str, tuple[float, float]]]]) -> None:
    with TemporaryDirectory() as directory:
        collector = IncrementalCollector(None, directory)
        for step in written:
            write_all(directory, [step])
            collector.engine.update()
        assert facts(collector.collect()) == facts(MultiProcessCollector(None, directory).collect())


@given(workers())
def test_added_labels(written: list[tuple[str, dict[str, tuple[float, float]]]]) -> None:
    added = {"worker_addr": "grpc://[::1]:8001", "zone": 'a"b\\c\nd'}
    with TemporaryDirectory() as directory:
        write_all(directory, written)
        stock = facts(MultiProcessCollector(None, directory).collect(), added)
        collector = IncrementalCollector(None, directory, labels=added.items())
        assert facts(collector.collect()) == stock
        assert of_text(rendered(collector.engine.snapshot)[0]) == stock


@given(workers())
def test_per_process_is_the_merge_of_each_process_alone(
    written: list[tuple[str, dict[str, tuple[float, float]]]],
) -> None:
    with TemporaryDirectory() as directory:
        write_all(directory, written)
        expected: Facts = {}
        for pid in PIDS:
            files = Path(directory).glob(f"*_{pid}.db")
            for family, samples in of_stock(files).items():
                alone = {
                    (name, tuple(sorted({**dict(labels), "pid": pid}.items()))): value
                    for (name, labels), value in samples.items()
                }
                expected.setdefault(family, {}).update(alone)
        collector = IncrementalCollector(None, directory, per_process=True)
        assert facts(collector.collect()) == expected
        assert of_text(rendered(collector.engine.snapshot)[0]) == expected
