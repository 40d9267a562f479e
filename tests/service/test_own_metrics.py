"""What every exporter tells of itself."""

import threading

import pytest
from prometheus_client import ProcessCollector

from exporter.service.own_metrics import Metric, OwnMetrics
from tests.support.compare import told

DESCRIBED = {
    "smg_exporter_scrapes_total": ("Scrapes.", "code"),
    "smg_exporter_files": ("Files.", "state"),
}


@pytest.fixture(name="own")
def _own() -> OwnMetrics:
    """Return the metrics of an exporter that counts scrapes and files."""
    return OwnMetrics(DESCRIBED, lambda: {"smg_exporter_files": {("live",): 1}}, ["read"], [("zone", "z")])


def test_scrapes_are_counted_by_code(own: OwnMetrics) -> None:
    assert told(own.tell()).value("smg_exporter_scrapes_total", code="200") == 0
    for code in (200, 200, 503, 499):
        own.count_scrape(code)
    it = told(own.tell())
    assert [it.value("smg_exporter_scrapes_total", code=code) for code in ("200", "499", "503")] == [2, 1, 1]


def test_the_process_is_this_one(own: OwnMetrics) -> None:
    it = told(own.tell())
    assert "process_resident_memory_bytes" in it.names
    assert it.value("process_open_fds")
    assert it.value("process_cpu_seconds_total")


def test_the_process_is_what_prometheus_client_says_of_it(own: OwnMetrics) -> None:
    stock = {family.name: family for family in ProcessCollector(registry=None).collect()}
    it = told(own.tell())
    ours = {family.name.removesuffix("_total"): family for family in it.families if family.name in stock}
    assert ours.keys() == stock.keys()
    for name, family in stock.items():
        assert (ours[name].type, ours[name].documentation) == (family.type, family.documentation)
        (sample,), (stock_sample,) = ours[name].samples, family.samples
        assert sample.name == stock_sample.name
        assert sample.value == pytest.approx(stock_sample.value, rel=0.2, abs=0.1)


def test_durations_are_counted_by_phase(own: OwnMetrics) -> None:
    own.observe({"read": 0.25})
    it = told(own.tell())
    it.check()
    assert it.value("smg_exporter_scrape_phase_seconds_sum", phase="read", zone="z") == 0.25
    names = [family.name for family in it.families]
    assert names == sorted(names)
    assert "smg_exporter_scrape_phase_seconds_bucket" in own.names


def test_what_did_not_change_is_the_same_object(own: OwnMetrics) -> None:
    before, after = own.tell(), own.tell()
    assert all(one.family is other.family for one, other in zip(before, after, strict=True))
    same = {values.family.name for values, old in zip(after, before, strict=True) if values is old}
    assert same >= {
        "process_start_time_seconds",
        "smg_exporter_build_info",
        "smg_exporter_files",
        "smg_exporter_scrape_phase_seconds",
    }


def test_scrapes_may_be_counted_while_they_are_told(own: OwnMetrics) -> None:
    def count() -> None:
        for code in range(1000, 3000):
            own.count_scrape(code)

    counting = threading.Thread(target=count)
    counting.start()
    while counting.is_alive():
        own.tell()
    counting.join()


def test_a_metric_is_told_anew_where_something_is_new_and_the_unknown_is_left_out() -> None:
    metric = Metric("x_total", "X.", "a", labels=[("b", "c")])
    first = metric.tell({("1",): 5, ("2",): None})
    assert first.samples == [[("x_total", (("a", "1"), ("b", "c")))]]
    assert first.values == [[5.0]]
    assert metric.tell({("1",): 5}) is first
    second = metric.tell({("1",): 6})
    assert second.values == [[6.0]]
    assert second.samples is first.samples, "what is rendered of it is kept"
    assert metric.names >= {"x", "x_total"}
