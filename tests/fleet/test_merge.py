import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.fleet.merge import merge
from exporter.model import Format
from exporter.scraping.reading import BodyReader
from exporter.service.own_metrics import Metric
from tests.support.compare import flat, of_openmetrics, of_text
from tests.support.merging import (
    OPENMETRICS,
    TEXT,
    expositions,
    faults,
    merged,
    read_all,
    recorded_text,
    slow_merge,
)

ADDRESSES = ("grpc://10.0.0.1:8001", "grpc://10.0.0.2:8001", "http://[::1]:30000")


# --- Against a slow merge, through prometheus_client's parsers ---


@given(st.lists(expositions(), min_size=1, max_size=3))
def test_the_merge_says_what_a_slow_merge_of_objects_says(bodies: list[bytes]) -> None:
    addresses = ADDRESSES[: len(bodies)]
    reader = BodyReader()
    readings = [reader.read(body, address.encode()) for body, address in zip(bodies, addresses, strict=True)]
    chunks, _ = merge(readings, TEXT)
    assert of_text(b"".join(chunks)) == slow_merge(bodies, addresses)


def finite(body: bytes) -> bytes:
    """Replace what OpenMetrics has no counters and sums of."""
    return re.sub(rb"(?m) (NaN|\+Inf)$", b" 1", body)


@given(st.lists(expositions().map(finite), min_size=1, max_size=3))
def test_openmetrics_is_strict_and_says_the_same(bodies: list[bytes]) -> None:
    reader = BodyReader()
    readings = [reader.read(body, address.encode()) for body, address in zip(bodies, ADDRESSES, strict=False)]
    in_text = of_text(b"".join(merge(readings, TEXT)[0]))
    in_openmetrics = of_openmetrics(b"".join(merge(readings, OPENMETRICS)[0]))
    assert flat(in_text) == flat(in_openmetrics)


# --- Families ---


def test_series_of_all_workers_stand_under_one_header_by_name() -> None:
    one = b"# HELP b Help.\n# TYPE b gauge\nb 1\n# HELP a A.\n# TYPE a counter\na 2\n"
    two = b"# HELP a Other help.\n# TYPE a counter\na 3\n# TYPE b gauge\nb 4\n"
    assert merged(one, two) == (
        "# HELP a A.\n# TYPE a counter\n"
        'a{worker_addr="grpc://w0:1"} 2\na{worker_addr="grpc://w1:1"} 3\n'
        "# HELP b Help.\n# TYPE b gauge\n"
        'b{worker_addr="grpc://w0:1"} 1\nb{worker_addr="grpc://w1:1"} 4\n'
    )


def test_the_first_workers_type_wins() -> None:
    bodies = b"# TYPE a gauge\na 1\nb 1\n", b"# TYPE a counter\na 2\nb 2\n"
    assert 'a{worker_addr="grpc://w1:1"}' not in merged(*bodies)
    assert 'b{worker_addr="grpc://w1:1"} 2' in merged(*bodies)
    assert faults(*bodies) == {"type_conflict": 1}


def test_a_family_whose_name_is_a_sample_of_another_is_left_out() -> None:
    histogram = b'# TYPE h histogram\nh_bucket{le="+Inf"} 1\nh_sum 1\nh_count 1\n'
    assert faults(histogram, b"# TYPE h_count gauge\nh_count 1\n") == {"name_clash": 1}


@pytest.mark.parametrize("format_", Format)
def test_our_own_families_stand_among_the_workers(format_: Format) -> None:
    own = [Metric("up", "Ours.", "worker_addr").tell({("x",): 1.0})]
    chunks, left_out = merge(read_all([b"z 1\n", b"a 2\nup_to 3\n"]), format_, own)
    text = b"".join(chunks).decode()
    assert not left_out
    assert re.findall("(?m)^# TYPE ([a-z_]+)", text) == ["a", "up", "up_to", "z"]
    assert '# HELP up Ours.\n# TYPE up gauge\nup{worker_addr="x"} 1.0\n' in text


@pytest.mark.parametrize("format_", Format)
@pytest.mark.parametrize("body", [b"# TYPE up gauge\nup 5\n", b"# TYPE u summary\nu_sum 5\n"])
def test_no_worker_has_a_name_of_our_own(format_: Format, body: bytes) -> None:
    own = [Metric(name, "Ours.").tell({(): 1.0}) for name in ("u_sum", "up")]
    chunks, left_out = merge(read_all([body, b"other 1\n"]), format_, own)
    assert left_out == {"reserved_name": 1}
    assert b"5" not in b"".join(chunks)


# --- OpenMetrics ---


def test_a_counter_is_named_without_total_in_openmetrics() -> None:
    body = b'# HELP a_total Say "hi".\n# TYPE a_total counter\na_total 1\n'
    assert merged(body, format_=OPENMETRICS) == (
        '# HELP a Say \\"hi\\".\n# TYPE a counter\na_total{worker_addr="grpc://w0:1"} 1\n# EOF\n'
    )


@pytest.mark.parametrize(
    "body",
    [
        b"# TYPE a counter\na 1\n",
        b"# TYPE a_total counter\na_total 1\n# TYPE a gauge\na 2\n",
        b"# TYPE a_total counter\na_total 1\n# TYPE a_created gauge\na_created 2\n",
        b'# TYPE a histogram\na_bucket{le="+Inf"} 1\na_sum 1\na_count 1\n# TYPE a_created gauge\na_created 2\n',
        b"# TYPE a_total counter\na_total 1\n# TYPE a_total_total counter\na_total_total 2\n",
        b"# TYPE a_count_total counter\na_count_total 1\n# TYPE a summary\na_count 2\na_sum 2\n",
        b'# TYPE a histogram\na_bucket{le="1"} 1\na_bucket{le="+Inf"} 1\na_sum 1\na_count 1\n',
        b'# TYPE a summary\na{quantile="1"} 1\na_sum 1\na_count 1\n',
    ],
)
def test_openmetrics_has_names_for_all_families(body: bytes) -> None:
    of_openmetrics(merged(body, body, format_=OPENMETRICS).encode())


# --- Recorded workers ---


@pytest.mark.parametrize("name", ["tp1", "tp8"])
def test_recorded_workers_merge_to_what_they_say(recorded: dict[str, Path], name: str) -> None:
    body = recorded_text(recorded[name])
    assert faults(body) == {}
    text = b"".join(merge(read_all([body, body]), TEXT)[0])
    assert of_text(text) == slow_merge([body, body], ["grpc://w0:1", "grpc://w1:1"])
    of_openmetrics(b"".join(merge(read_all([body, body]), OPENMETRICS)[0]))
