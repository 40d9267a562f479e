"""A snapshot says what the body says, and is the same object as long as that says the same."""

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.model import Format, Snapshot
from exporter.scraping.reading import BodyReader, Reading
from exporter.scraping.snapshots import Snapshots
from tests.support.compare import Facts, Samples, facts, flat, of_openmetrics, of_text, rendered, types
from tests.support.memory import growth
from tests.support.merging import expositions


def snapshot(body: bytes) -> Snapshot:
    return Snapshots().take(BodyReader(keeps_addresses=True).read(body))


def without_the_empty(said: Facts) -> Samples:
    """Return the samples without empty labels, which are as good as none; of equal series the first counts."""
    samples: Samples = {}
    for (name, labels), value in flat(said).items():
        samples.setdefault((name, tuple(label for label in labels if label[1])), value)
    return samples


@given(st.lists(expositions(), min_size=1, max_size=3))
def test_snapshots_say_what_the_bodies_say(bodies: list[bytes]) -> None:
    reader, snapshots = BodyReader(keeps_addresses=True), Snapshots()
    reading: Reading | None = None
    for body in bodies:
        reading = reader.read(body, before=reading)
        text, openmetrics = rendered(snapshots.take(reading))
        expected = without_the_empty(facts(parse_text(body.decode())))
        assert without_the_empty(of_text(text)) == expected
        assert openmetrics.endswith(b"# EOF\n")


def test_families_are_sorted_and_counters_are_named_as_in_openmetrics() -> None:
    body = b"# TYPE b_total counter\nb_total 1\n# HELP a Help.\n# TYPE a gauge\na 2\n# TYPE none gauge\n"
    assert [(one.family.name, one.family.type, one.family.help) for one in snapshot(body)] == [
        ("a", "gauge", "Help."),
        ("b", "counter", ""),
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"# TYPE a counter\na 1\n",
        b"# TYPE a gauge\na 2\n# TYPE a_total counter\na_total 1\n",
        b"# TYPE a summary\na_count 2\na_sum 3\n# TYPE a_count_total counter\na_count_total 1\n",
    ],
)
def test_a_counter_without_a_name_in_openmetrics_is_of_unknown_type(body: bytes) -> None:
    text, openmetrics = rendered(snapshot(body))
    lines = [line for line in body.splitlines() if not line.startswith(b"#")]
    for answer in (text, openmetrics):
        assert [
            line.replace(b".0", b"") for line in answer.splitlines() if not line.startswith(b"#")
        ] == lines
    assert "counter" not in types(of_openmetrics(openmetrics)).values()


def test_labels_are_unescaped_and_bounds_are_canonical() -> None:
    body = b'# TYPE h histogram\nh_bucket{x="\\"\\\\\\n",le="1"} 1\nh_bucket{x="\\"\\\\\\n",le="+Inf"} 1\n'
    (one,) = snapshot(body)
    assert list(one.samples[0]) == [
        ("h_bucket", (("le", "1.0"), ("x", '"\\\n'))),
        ("h_bucket", (("le", "+Inf"), ("x", '"\\\n'))),
    ]


def test_a_reader_that_keeps_addresses_tells_workers_apart() -> None:
    body = b'a{worker_addr="grpc://one:1"} 1\na{worker_addr="grpc://two:1"} 2\na 3\n'
    (one,) = snapshot(body)
    assert [labels for _, labels in one.samples[0]] == [
        (("worker_addr", "grpc://one:1"),),
        (("worker_addr", "grpc://two:1"),),
        (),
    ]
    reading = BodyReader(keeps_addresses=True).read(body)
    assert b"".join(reading.pieces(Format.TEXT_0_0_4)) == (
        b'a{worker_addr="grpc://one:1",} 1\na{worker_addr="grpc://two:1",} 2\na{} 3\n'
    )


def test_added_labels_leave_an_own_label_as_exported() -> None:
    reading = BodyReader((("worker_addr", "ours"),), keeps_addresses=True).read(
        b'a{worker_addr="theirs"} 1\n'
    )
    (one,) = Snapshots().take(reading)
    assert list(one.samples[0]) == [("a", (("exported_worker_addr", "theirs"), ("worker_addr", "ours")))]


def test_timestamps_are_dropped() -> None:
    (one,) = snapshot(b'a{x="1"} 1 1700000000123\na{x="2"} 2\n')
    assert one.values == [[1.0, 2.0]]


def test_what_is_as_before_is_the_same_object() -> None:
    reader, snapshots = BodyReader(keeps_addresses=True), Snapshots()
    first = snapshots.take(reading := reader.read(b'a 1\nb 1\nb{x="1"} 1\n'))
    assert snapshots.take(reader.read(b'a 1\nb 1\nb{x="1"} 1\n', before=reading)) is first
    second = snapshots.take(reader.read(b'a 1\nb 1\nb{x="1"} 2\n', before=reading))
    assert second is not first
    assert second[0] is first[0]
    assert second[1].samples is first[1].samples
    third = snapshots.take(reader.read(b"# TYPE c gauge\nc 1\na 1\n", before=reading))
    assert third[0] is first[0]
    assert [one.family.name for one in third] == ["a", "c"]


def test_a_family_that_gives_way_to_another_changes_its_type() -> None:
    reader, snapshots = BodyReader(keeps_addresses=True), Snapshots()
    counter = b"# TYPE a_total counter\na_total 1\n"
    kinds = [
        [one.family.type for one in snapshots.take(reader.read(body))]
        for body in (counter, counter + b"# TYPE a gauge\na 1\n", counter)
    ]
    assert kinds == [["counter"], ["gauge", "unknown"], ["counter"]]


def test_memory_stays_as_it_is_though_series_come_and_go() -> None:
    reader, snapshots, numbers = BodyReader(keeps_addresses=True), Snapshots(), count()
    reading: Reading | None = None

    def a_round() -> None:
        nonlocal reading
        lines = [b'a{x="%d"} 1\n' % next(numbers) for _ in range(20)]
        reading = reader.read(b"".join([*lines, b"b%d 1\n" % next(numbers)]), before=reading)
        assert len(snapshots.take(reading)) == 2

    assert growth(a_round, warm_up=150, rounds=300) < 20_000  # the warm-up fills the cache of labels
