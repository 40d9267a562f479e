"""What formats call families, which names clash, and labels that are taken."""

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary

from exporter.model import STORED_SUFFIXES, SUFFIXES, Format, add_labels, family_name, names, relabel

TEXT, OPENMETRICS = Format.TEXT_0_0_4, Format.OPENMETRICS_1_0_0


def test_a_counter_is_called_as_its_samples_in_text() -> None:
    assert [family_name("a", "counter", format_) for format_ in Format] == ["a_total", "a_total", "a"]
    assert {family_name("a", "gauge", format_) for format_ in Format} == {"a"}


@pytest.mark.parametrize("metric_type", SUFFIXES[TEXT])
def test_what_is_free_in_openmetrics_is_free_in_text(metric_type: str) -> None:
    in_text = names(family_name("a", metric_type, TEXT), metric_type, TEXT)
    assert in_text <= names("a", metric_type, OPENMETRICS)


@pytest.mark.parametrize("made", [Counter, Gauge, Histogram, Summary], ids=lambda made: made.__name__)
def test_names_are_those_that_prometheus_client_keeps_for_a_family(
    made: type[Counter | Gauge | Histogram | Summary],
) -> None:
    registry = CollectorRegistry()
    made("a", "Help.", registry=registry)
    assert set(registry._names_to_collectors) == names("a", made._type)


@pytest.mark.parametrize(("metric_type", "suffixes"), STORED_SUFFIXES.items())
def test_files_hold_samples_that_formats_have(metric_type: str, suffixes: tuple[str, ...]) -> None:
    assert set(suffixes) <= set(SUFFIXES[OPENMETRICS][metric_type])


def test_a_type_that_nobody_knows_takes_up_its_name() -> None:
    assert names("a", "stateset") == {"a"}


def test_labels_stay_in_order_when_some_are_added() -> None:
    labels = relabel({"zone": "z", "cluster": "own", "area": "a"}, [("cluster", "ours"), ("dc", "x")])
    assert list(labels.items()) == [
        ("zone", "z"),
        ("cluster", "ours"),
        ("area", "a"),
        ("exported_cluster", "own"),
        ("dc", "x"),
    ]


def test_labels_are_sorted_and_added() -> None:
    assert add_labels({"zone": "z", "area": "a"}, [("worker_addr", "w"), ("dc", "x")]) == (
        ("area", "a"),
        ("dc", "x"),
        ("worker_addr", "w"),
        ("zone", "z"),
    )


def test_a_label_of_an_added_name_is_kept_as_exported() -> None:
    assert dict(add_labels({"worker_addr": "theirs"}, [("worker_addr", "ours")])) == {
        "worker_addr": "ours",
        "exported_worker_addr": "theirs",
    }


def test_exported_labels_form_a_chain() -> None:
    own = {"worker_addr": "1", "exported_worker_addr": "2", "exported_exported_worker_addr": "3"}
    assert dict(add_labels(own, [("worker_addr", "ours")])) == {
        "worker_addr": "ours",
        "exported_worker_addr": "2",
        "exported_exported_worker_addr": "3",
        "exported_exported_exported_worker_addr": "1",
    }
