import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.fleet.merge import merge
from exporter.fleet.reading import BadExpositionError, BodyReader, Reading
from exporter.model import Format
from exporter.service.own_metrics import Metric
from tests.fleet.expositions import expositions, recorded_text, slow_merge
from tests.support.compare import flat, of_openmetrics, of_text, types

TEXT, OPENMETRICS = Format.TEXT_0_0_4, Format.OPENMETRICS_1_0_0
ADDRESSES = ("grpc://10.0.0.1:8001", "grpc://10.0.0.2:8001", "http://[::1]:30000")


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


def one_by_one(bodies: Sequence[bytes]) -> list[Reading]:
    """Read bodies by readers that have seen nothing else."""
    return [BodyReader().read(body, ADDRESSES[0].encode()) for body in bodies]


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


@pytest.mark.parametrize("name", ["sglang:x", "Capital", "max_running_requests_under_SLO", ":", "_"])
def test_names_stay_as_they_are(name: str) -> None:
    for format_ in Format:
        text = merged(f"# TYPE {name} gauge\n{name} 1\n".encode(), format_=format_)
        assert f'\n{name}{{worker_addr="grpc://w0:1"}} 1\n' in text


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


# --- Labels ---


def test_a_workers_own_address_is_replaced_wherever_it_stands() -> None:
    body = b'a{worker_addr="x",z="1"} 1\na{b="2",worker_addr="y"} 2\na{worker_addr="z"} 3\n'
    assert merged(body).splitlines()[2:] == [
        'a{z="1",worker_addr="grpc://w0:1"} 1',
        'a{b="2",worker_addr="grpc://w0:1"} 2',
        'a{worker_addr="grpc://w0:1"} 3',
    ]


def test_series_that_differ_in_their_own_address_only_are_duplicates() -> None:
    body = b'a{worker_addr="x"} 1\na{worker_addr="y"} 2\n'
    assert merged(body).count("\na{") == 1
    assert faults(body) == {"duplicate_series": 1}


@pytest.mark.parametrize("second", [b'a{x="1",y="2"} 2', b'a{y="2",x="1"} 2', b'a{y="2",x="1",z=""} 2'])
def test_a_duplicate_is_dropped_however_it_is_written(second: bytes) -> None:
    body = b'a{x="1",y="2"} 1\n%b\n' % second
    assert merged(body).splitlines()[2:] == ['a{x="1",y="2",worker_addr="grpc://w0:1"} 1']
    assert faults(body) == {"duplicate_series": 1}


def test_a_label_that_we_add_stays_as_exported() -> None:
    body = b'a{cluster="own"} 1\nb{cluster="own",exported_cluster="older"} 2\nc 3\n'
    lines = merged(body, labels=[("cluster", "x")]).splitlines()
    assert [line for line in lines if line[0] != "#"] == [
        'a{cluster="x",exported_cluster="own",worker_addr="grpc://w0:1"} 1',
        'b{cluster="x",exported_cluster="older",exported_exported_cluster="own",worker_addr="grpc://w0:1"} 2',
        'c{cluster="x",worker_addr="grpc://w0:1"} 3',
    ]


@pytest.mark.parametrize(
    "value",
    [r"{", r"}", r"} 1", r",", r":", r"\"", r"\\", r"\n", "ü€𝄞", r"a=\"b\",c=\"d\"", "\t", "\r", "# HELP x"],
)
def test_label_values_survive_byte_for_byte(value: str) -> None:
    for body in (f'a{{x="{value}"}} 1\n', f'a{{x="{value}",worker_addr="me"}} 1\n'):
        assert f'\na{{x="{value}",worker_addr="grpc://w0:1"}} 1\n' in merged(body.encode())


def test_a_line_of_10_mb_survives() -> None:
    value = "x" * 10_000_000
    assert value in merged(f'a{{x="{value}"}} 1\n'.encode())


def test_blanks_where_the_format_allows_them_go() -> None:
    assert 'a{x="1",y="2",worker_addr="grpc://w0:1"} 3\n' in merged(b'a { x = "1" ,\ty="2", }   3  \n')


# --- What is broken ---

BROKEN = {
    "no value": b"bad",
    "no number": b"bad one",
    "underscore": b"bad 1_000",
    "hexadecimal": b"bad 0x1p3",
    "two numbers too many": b"bad 1 2 3",
    "exemplar": b'bad{x="1"} 1 # {trace="2"} 3',
    "open brace": b'bad{x="1" 1',
    "open quote": b'bad{x="1} 1',
    "no quote": b"bad{x=1} 1",
    "bad escape": b'bad{x="\\t"} 1',
    "label twice": b'bad{x="1",x="2"} 1',
    "bad label name": b'bad{1x="1"} 1',
    "UTF-8 name": b'{"bad",x="1"} 1',
    "bad UTF-8": b'bad{x="\xff"} 1',
    "carriage return": b"bad 1\r",
    "second type": b"# TYPE bad counter",
    "unknown type": b"# TYPE bad banana",
}


@pytest.mark.parametrize("line", BROKEN.values(), ids=BROKEN)
def test_a_broken_line_costs_its_family_and_no_other(line: bytes) -> None:
    body = (
        b'# TYPE good gauge\ngood 1\n# TYPE bad gauge\nbad{x="y"} 2\n%b\n# TYPE fine gauge\nfine 3\n' % line
    )
    text = merged(body, b"# TYPE bad gauge\nbad 4\n")
    assert 'good{worker_addr="grpc://w0:1"} 1\n' in text
    assert 'fine{worker_addr="grpc://w0:1"} 3\n' in text
    assert 'bad{worker_addr="grpc://w1:1"} 4\n' in text
    assert 'bad{x="y"' not in text
    assert faults(body) == {"broken_family": 1}


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


@pytest.mark.parametrize("part", [b"a", b" ", b",", b'a="', b"{", b"} 1", b"\\"], ids=bytes.decode)
def test_a_broken_line_takes_no_longer_than_its_length_asks_for(part: bytes) -> None:
    assert faults(b"bad{%bx} 1\ngood 1\n" % (part * 1_000_000)) == {"broken_family": 1}


def test_a_cut_off_line_costs_its_family() -> None:
    assert faults(b"good 1\nbad 12") == {"broken_family": 1}


@pytest.mark.parametrize(
    "body", [b"<!DOCTYPE html>\n<html><body>404</body></html>\n", b'{"a": 1}', b"\xff\xfe\n", b"ok"]
)
def test_a_body_with_nothing_to_read_is_a_failure(body: bytes) -> None:
    with pytest.raises(BadExpositionError, match="not a text exposition"):
        BodyReader().read(body, b"w")


@pytest.mark.parametrize("body", [b"", b"\n", b"# a comment\n# EOF\n"])
def test_an_empty_exposition_is_none_the_less_one(body: bytes) -> None:
    assert merged(body, b"a 1\n") == '# HELP a \n# TYPE a untyped\na{worker_addr="grpc://w1:1"} 1\n'


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


def test_timestamps_are_milliseconds_in_text_and_seconds_in_openmetrics() -> None:
    body = b"a 1 1700000000123\nb 2 -1500\n"
    assert 'a{worker_addr="grpc://w0:1"} 1 1700000000123\n' in merged(body)
    text = merged(body, format_=OPENMETRICS)
    assert 'a{worker_addr="grpc://w0:1"} 1 1700000000.123\n' in text
    assert 'b{worker_addr="grpc://w0:1"} 2 -1.500\n' in text


# --- Recorded workers ---


@pytest.mark.parametrize("name", ["tp1", "tp8"])
def test_recorded_workers_merge_to_what_they_say(recorded: dict[str, Path], name: str) -> None:
    body = recorded_text(recorded[name])
    assert faults(body) == {}
    text = b"".join(merge(read_all([body, body]), TEXT)[0])
    assert of_text(text) == slow_merge([body, body], ["grpc://w0:1", "grpc://w1:1"])
    of_openmetrics(b"".join(merge(read_all([body, body]), OPENMETRICS)[0]))
