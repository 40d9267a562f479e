"""The histogram of durations is equal to prometheus_client's, and what did not change is not told anew."""

from prometheus_client import CollectorRegistry
from prometheus_client import Histogram as Stock
from prometheus_client.exposition import generate_latest

from exporter.exposition.text import Renderer
from exporter.model import Format
from exporter.service.histogram import BUCKETS, Histogram
from tests.support.compare import text_of
from tests.support.expositions import Exposition

OBSERVED = (0.0, BUCKETS[0], 0.0011, 0.3, 0.3, BUCKETS[-1], 11.0)


def histogram() -> Histogram:
    return Histogram("x_seconds", "X.", ["read", "merge"], [("zone", "z")])


def exposition(metric: Histogram) -> Exposition:
    return Exposition(text_of(Renderer(Format.TEXT_0_0_4), [metric.tell()]).decode())


def test_it_counts_as_prometheus_client_does() -> None:
    ours, registry = histogram(), CollectorRegistry()
    stock = Stock("x_seconds", "X.", ["phase", "zone"], buckets=BUCKETS, registry=registry)
    for phase in ("read", "merge"):
        stock.labels(phase, "z")
    for seconds in OBSERVED:
        ours.observe({"read": seconds})
        stock.labels("read", "z").observe(seconds)
    expected = Exposition(generate_latest(registry).decode())
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value for sample in exposition(ours).samples
    }
    assert samples == {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for sample in expected.samples
        if not sample.name.endswith("_created")
    }


def test_its_samples_are_whole_and_in_order() -> None:
    metric = histogram()
    metric.observe({"read": 0.3, "merge": 0.002})
    exposition(metric).check()
    assert exposition(metric).names <= metric.names


def test_what_did_not_change_is_the_same_object() -> None:
    metric = histogram()
    first = metric.tell()
    assert metric.tell() is first
    metric.observe({"read": 0.3})
    second = metric.tell()
    assert second.samples is first.samples
    assert [new is old for new, old in zip(second.values, first.values, strict=True)] == [False, True]
    assert sum(map(sum, first.values)) == 0, "what was told before stays as it was"
