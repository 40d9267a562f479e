"""What is known of earlier bodies makes reading cheaper, and no difference to what is read."""

import re
from collections.abc import Sequence
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.fleet.merge import merge
from exporter.model import Format
from exporter.scraping.reading import BadExpositionError, BodyReader, Reading
from tests.support.memory import growth
from tests.support.merging import OPENMETRICS, expositions, merged

ADDRESS = b"grpc://10.0.0.1:8001"


def read(reader: BodyReader, body: bytes, before: Reading | None = None) -> Reading | None:
    """Return a reading; None where there is nothing to read."""
    try:
        return reader.read(body, ADDRESS, before)
    except BadExpositionError:
        return None


def says(reading: Reading | None) -> object:
    """Return everything that a reading says."""
    if reading is None:
        return None
    layout = reading.layout
    return [
        dict(layout.faults),
        [(family.name, family.type, family.help) for family, _ in layout.shares],
        *(merge([reading], format_) for format_ in Format),
    ]


def test_the_values_of_a_gauge() -> None:
    reading = BodyReader().read(SIMPLE + b"c 7 1234\n# TYPE d gauge\nd x\n", ADDRESS)
    assert [reading.values_of(name) for name in ("a", "c", "d", "e")] == [[1.0, 2.0], [7.0], [], []]


# --- Whatever was read before, a body says what it says to a reader that has seen nothing ---

SIMPLE = (
    b'# TYPE a gauge\na{x="1"} 1\na{x="2",worker_addr="grpc://own:1"} 2\n# TYPE b_total counter\nb_total 3\n'
)
RICH = b"""\
# HELP c_total Counted.
# TYPE c_total counter
c_total{x="1",worker_addr="grpc://own:1"} 1
c_total{x="2",worker_addr="grpc://own:1"} 2
# TYPE h histogram
h_sum{x="1",worker_addr="grpc://own:1"} 5
h_bucket{le="1",x="1",worker_addr="grpc://own:1"} 1
h_bucket{le="+Inf",x="1",worker_addr="grpc://own:1"} 2
h_count{x="1",worker_addr="grpc://own:1"} 2
# TYPE s summary
s{quantile="0.5"} 1
s_count 1
s_sum 1
# TYPE g gauge
g{worker_addr="grpc://own:1"} 7
"""
LINES = (
    RICH
    + b"""\
c_total{x="3",worker_addr="grpc://own:1"} 3
c_total{x="1",worker_addr="grpc://other:1"} 3
c_total{worker_addr="grpc://own:1",x="1"} 3
c_total{xworker_addr="grpc://own:1"} 3
c_total{x="1" ,} 3
h_sum{x="2",worker_addr="grpc://own:1"} 5
h_bucket{x="2",le="0.5",worker_addr="grpc://own:1"} 1
h_bucket{le="+Inf",x="2",worker_addr="grpc://own:1"} 2
h_count{x="2",worker_addr="grpc://own:1"} 2
h_bucket{x="1"} 2
h 2
# TYPE h_count histogram
# TYPE h gauge
# TYPE c_total banana
# HELP c_total Counted otherwise.
# a comment
#

g 1 1700000000123
g  1\t
g{x="\\n"} NaN
g{x="\xff"} 1
g{x="\r"} 1
g{x="1"
g one
}{
new 1
new_count 1
# TYPE new summary
"""
).splitlines(keepends=True)


@st.composite
def changed(draw: st.DrawFn, body: bytes) -> bytes:
    """Draw a body that comes from another one by some changes."""
    lines = re.findall(rb"[^\n]*\n|[^\n]+", body)
    for change in draw(st.lists(st.sampled_from("ivrpc"), max_size=4)):
        begin, end = sorted(draw(st.integers(0, len(lines))) for _ in range(2))
        if change == "i":
            lines[begin:begin] = draw(st.lists(st.sampled_from(LINES), min_size=1, max_size=4))
        elif change == "v":
            value = draw(st.sampled_from([b" 8\n", b" 9.5e3\n", b" 1_0\n", b" 1 -5\n"]))
            lines[begin:end] = [re.sub(rb" [0-9.]+\n", value, line) for line in lines[begin:end]]
        elif change == "r":
            del lines[begin:end]
        elif change == "p":
            lines[begin:end] = draw(st.permutations(lines[begin:end]))
        else:
            text = b"".join(lines)
            lines = re.findall(rb"[^\n]*\n|[^\n]+", text[: draw(st.integers(0, len(text)))])
    return b"".join(lines)


@st.composite
def histories(draw: st.DrawFn) -> list[bytes]:
    """Draw bodies of which each comes from the one before."""
    bodies = [draw(st.one_of(st.just(RICH), st.just(SIMPLE), expositions()))]
    for _ in range(draw(st.integers(1, 3))):
        bodies.append(draw(changed(bodies[-1])))
    return bodies


@given(histories(), histories(), st.sampled_from([(), (("x", "added"),)]))
def test_a_body_after_any_others_is_read_as_if_it_came_first(
    one: list[bytes], other: list[bytes], labels: tuple[tuple[str, str], ...]
) -> None:
    reader = BodyReader(labels)
    last: dict[int, Reading] = {}
    for bodies in zip(one, other, strict=False):
        for worker, body in enumerate(bodies):
            reading = read(reader, body, last.get(worker))
            assert says(reading) == says(read(BodyReader(labels), body))
            if reading:
                last[worker] = reading


@given(st.one_of(expositions(), st.just(SIMPLE)), st.data())
def test_a_body_that_a_few_bytes_make_different_is_read_as_if_it_came_first(
    body: bytes, data: st.DataObject
) -> None:
    other = bytearray(body)
    for _ in range(data.draw(st.integers(0, 2))):
        position = data.draw(st.integers(0, len(other)))
        some = st.sampled_from([b"1", b" ", b"\n", b"}", b'"', b"#", b".", b"e"])
        other[position : position + data.draw(st.integers(0, 3))] = data.draw(
            st.one_of(st.binary(max_size=2), some)
        )
    reader = BodyReader()
    before = read(reader, body)
    for known in (before, None):  # that worker's, and any other's
        assert says(read(reader, bytes(other), known)) == says(read(BodyReader(), bytes(other)))


@given(
    st.one_of(expositions(), st.just(SIMPLE)),
    st.sampled_from(["grpc://own:1", "grpc://10.0.0.2:8001", "grpc://127.0.0.1:8001"]),
)
def test_a_body_like_another_workers_is_read_as_if_there_were_none(body: bytes, own: str) -> None:
    reader = BodyReader()
    other = read(reader, body)
    body = body.replace(b"grpc://own:1", own.encode()).replace(b"} ", f',worker_addr="{own}"}} '.encode())
    assert says(read(reader, body)) == says(read(BodyReader(), body))
    del other


# --- What is known is taken from there ---


def body_of(*families: Sequence[bytes]) -> bytes:
    """Return gauges f0, f1, ... that have these values of the label `x`."""
    return b"".join(
        b"# TYPE f%d gauge\n" % number + b"".join(b'f%d{x="%b"} 1\n' % (number, x) for x in values)
        for number, values in enumerate(families)
    )


def known(reading: Reading, before: Reading) -> tuple[int, int]:
    """Return how many of a reading's lines are known from one before, and how many of its families."""
    families = [family for family, _ in before.layout.shares]
    return (
        len(set(reading.layout.lines) & set(before.layout.lines)),
        sum(family in families for family, _ in reading.layout.shares),
    )


def test_values_alone_leave_the_layout_as_it_is() -> None:
    reader = BodyReader()
    before = reader.read(b"a 1\nb 2 1700000000000\n", ADDRESS)
    again = reader.read(b"a 10\nb 2.5e3 1700000001000\n", ADDRESS, before)
    assert again.layout is before.layout
    assert again.values == [b"10\n", b"2.5e3 1700000001000\n"]


def test_timestamps_may_come_with_the_values() -> None:
    reader = BodyReader()
    before = reader.read(b"a 1\n", ADDRESS)
    again = reader.read(b"a 1 1500\n", ADDRESS, before)
    assert again.layout is before.layout
    assert b"".join(again.pieces(Format.OPENMETRICS_1_0_0)) == b'a{worker_addr="%b"} 1 1.500\n' % ADDRESS


@pytest.mark.parametrize(
    ("after", "lines", "families"),
    [
        (body_of([b"1", b"new", b"2"], [b"1", b"2"], [b"1"]), 8, 2),  # in the middle of a family
        (body_of([b"1", b"2"], [b"1"], [b"1"]), 7, 2),  # one that goes
        (body_of([b"1", b"2"]), 3, 1),  # a worker that starts anew
        (body_of([b"2", b"1"], [b"1", b"2"], [b"1"]), 8, 2),  # another order
        (b'new{x="1"} 1\n' + body_of([b"1", b"2"], [b"1", b"2"], [b"1"]), 8, 3),
    ],
    ids=["comes", "goes", "restart", "order", "family"],
)
def test_lines_and_families_are_known_from_the_last_body(after: bytes, lines: int, families: int) -> None:
    reader = BodyReader()
    before = reader.read(body_of([b"1", b"2"], [b"1", b"2"], [b"1"]), ADDRESS)
    assert known(reader.read(after, ADDRESS, before), before) == (lines, families)


def test_workers_that_are_alike_share_a_layout() -> None:
    reader = BodyReader()
    one = reader.read(b'a{x="1",worker_addr="grpc://one:1"} 1\nb 2\n', b"grpc://one:1")
    two = reader.read(b'a{x="1",worker_addr="grpc://two:1"} 7\nb 8\n', b"grpc://two:1")
    assert two.layout is one.layout
    assert b"".join(merge([one, two], Format.TEXT_0_0_4)[0]) == (
        b'# HELP a \n# TYPE a untyped\na{x="1",worker_addr="grpc://one:1"} 1\na{x="1",worker_addr="grpc://two:1"} 7\n'
        b'# HELP b \n# TYPE b untyped\nb{worker_addr="grpc://one:1"} 2\nb{worker_addr="grpc://two:1"} 8\n'
    )


def test_a_label_whose_name_only_ends_in_that_of_the_address_is_not_taken_for_it() -> None:
    reader = BodyReader()
    one = reader.read(b'a{xworker_addr="one"} 1\n', ADDRESS)
    two = reader.read(b'a{xworker_addr="two"} 1\n', ADDRESS)
    assert [reading.layout.heads for reading in (one, two)] == [
        [b'a{xworker_addr="one",'],
        [b'a{xworker_addr="two",'],
    ]


def test_workers_that_are_nearly_alike_share_what_they_have_in_common() -> None:
    reader = BodyReader()
    one = reader.read(body_of([b"1", b"2"], [b"1"]), ADDRESS)
    two = reader.read(body_of([b"1", b"2"], [b"1", b"new"]), ADDRESS)
    assert known(two, one) == (5, 1)


def test_workers_that_get_the_same_new_series_still_share_a_layout() -> None:
    reader = BodyReader()
    before = [reader.read(body_of([b"1"]), ADDRESS) for _ in range(2)]
    one, two = (reader.read(body_of([b"1", b"new"]), ADDRESS, last) for last in before)
    assert two.layout is one.layout


def test_a_target_may_become_another_worker() -> None:
    reader = BodyReader()
    before = reader.read(b"a 1\n", b"grpc://one:1")
    after = reader.read(b"a 2\n", b"grpc://two:1", before)
    assert b"".join(after.pieces(Format.TEXT_0_0_4)) == b'a{worker_addr="grpc://two:1"} 2\n'


# --- Nothing else is kept ---


def test_readings_that_nobody_has_any_more_are_not_kept() -> None:
    reader = BodyReader()
    readings = [reader.read(b"a 1\n" + b"\n" * number, ADDRESS) for number in range(20)]
    assert len(reader._by_length) == 20
    del readings[1:]
    assert list(reader._by_length.values()) == readings
    assert vars(reader).keys() == {"_labels", "_keeps_addresses", "_by_length"}, "another cache, another test"


def test_memory_stays_as_it_is_though_series_come_and_go_for_ever() -> None:
    reader = BodyReader()
    last: dict[int, Reading] = {}
    number = count()

    def a_round() -> None:
        """Read two workers with a new series each, one with new lines only, half of them broken, and one broken one."""
        for worker in range(2):
            stays = [b"%d of %d" % (line, worker) for line in range(20)]
            values = [*stays, b"new %d" % next(number)]
            last[worker] = reader.read(body_of(values[:15], values[15:]), ADDRESS, last.get(worker))
        broken = b"".join(b'f{x="%d"} 1\nbroken %d x\n' % (next(number), next(number)) for _ in range(20))
        last[2] = reader.read(b"good 1\n" + broken, ADDRESS, last.get(2))
        assert read(reader, b"broken %d x\n" % next(number)) is None

    assert growth(a_round, warm_up=20, rounds=300) < 20_000


# --- A body as a whole ---


@pytest.mark.parametrize(
    "body", [b"<!DOCTYPE html>\n<html><body>404</body></html>\n", b'{"a": 1}', b"\xff\xfe\n", b"ok"]
)
def test_a_body_with_nothing_to_read_is_a_failure(body: bytes) -> None:
    with pytest.raises(BadExpositionError, match="not a text exposition"):
        BodyReader().read(body, b"w")


@pytest.mark.parametrize("body", [b"", b"\n", b"# a comment\n# EOF\n"])
def test_an_empty_exposition_is_none_the_less_one(body: bytes) -> None:
    assert merged(body, b"a 1\n") == '# HELP a \n# TYPE a untyped\na{worker_addr="grpc://w1:1"} 1\n'


def test_timestamps_are_milliseconds_in_text_and_seconds_in_openmetrics() -> None:
    body = b"a 1 1700000000123\nb 2 -1500\n"
    assert 'a{worker_addr="grpc://w0:1"} 1 1700000000123\n' in merged(body)
    text = merged(body, format_=OPENMETRICS)
    assert 'a{worker_addr="grpc://w0:1"} 1 1700000000.123\n' in text
    assert 'b{worker_addr="grpc://w0:1"} 2 -1.500\n' in text
