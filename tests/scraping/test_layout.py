"""The layout of a body: which family each line belongs to, in which order, and what is left out."""

import pytest

from tests.support.compare import of_openmetrics, types
from tests.support.merging import OPENMETRICS, faults, merged


def test_an_interleaved_family_is_put_together() -> None:
    assert merged(b'# TYPE a gauge\na{x="1"} 1\n# TYPE b gauge\nb 2\na{x="2"} 3\n') == (
        '# HELP a \n# TYPE a gauge\na{x="1",worker_addr="grpc://w0:1"} 1\na{x="2",worker_addr="grpc://w0:1"} 3\n'
        '# HELP b \n# TYPE b gauge\nb{worker_addr="grpc://w0:1"} 2\n'
    )


def test_a_type_may_come_after_the_samples() -> None:
    assert "# TYPE h histogram\n" in merged(
        b'h_bucket{le="+Inf"} 1\nh_sum 1\nh_count 1\n# TYPE h histogram\n'
    )


def test_the_lines_of_a_histogram_are_put_in_order() -> None:
    body = b"# TYPE h histogram\nh_sum 1\n" + b"".join(
        b'h_bucket{le="%b"%b} %d\n' % (le, x, value)
        for le, value in ((b"+Inf", 9), (b"10", 8), (b"2", 7))
        for x in (b"", b',x="1"')
    )
    body += b'h_count 9\nh_count{x="1"} 9\nh_sum{x="1"} 2\n'
    assert types(of_openmetrics(merged(body, format_=OPENMETRICS).encode())) == {"h": "histogram"}


def test_a_histogram_may_be_called_count() -> None:
    body = b'# TYPE x_count histogram\nx_count_bucket{le="+Inf"} 1\nx_count_count 1\nx_count_sum 1\n'
    assert faults(body) == {}
    assert merged(body).count("x_count_count{") == 1


def test_a_sample_is_a_histograms_count_before_it_is_of_a_histogram_called_count() -> None:
    body = b"".join(
        b'# TYPE %b histogram\n%b_bucket{le="+Inf"} 1\n%b_count 1\n%b_sum 1\n' % ((name,) * 4)
        for name in (b"x", b"x_count")
    )
    assert faults(body) == {"name_clash": 1}


def test_the_first_help_text_counts() -> None:
    assert merged(b"# HELP a One.\n# HELP a Two.\na 1\n").startswith("# HELP a One.\n")


def test_series_that_differ_in_their_own_address_only_are_duplicates() -> None:
    body = b'a{worker_addr="x"} 1\na{worker_addr="y"} 2\n'
    assert merged(body).count("\na{") == 1
    assert faults(body) == {"duplicate_series": 1}


@pytest.mark.parametrize("second", [b'a{x="1",y="2"} 2', b'a{y="2",x="1"} 2', b'a{y="2",x="1",z=""} 2'])
def test_a_duplicate_is_dropped_however_it_is_written(second: bytes) -> None:
    body = b'a{x="1",y="2"} 1\n%b\n' % second
    assert merged(body).splitlines()[2:] == ['a{x="1",y="2",worker_addr="grpc://w0:1"} 1']
    assert faults(body) == {"duplicate_series": 1}


@pytest.mark.parametrize(
    "line",
    [
        b"h 1",
        b"h_bucket 1",
        b'h_bucket{le="x"} 1',
        b'h_bucket{le="NaN"} 1',
        'h_bucket{le="\u0661"} 1'.encode(),
    ],
    ids=bytes.decode,
)
def test_a_histogram_with_a_sample_that_it_cannot_have_is_broken(line: bytes) -> None:
    body = b'# TYPE h histogram\nh_bucket{le="+Inf"} 1\nh_sum 1\nh_count 1\n%b\ngood 1\n' % line
    assert faults(body) == {"broken_family": 1}


def test_a_line_of_no_family_costs_itself() -> None:
    assert faults(b"}{\ngood 1\n") == {"stray_line": 1}
