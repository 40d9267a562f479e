"""Of two snapshots, the first has its way; the second adds what is not there yet."""

import pytest
from hypothesis import given
from prometheus_client.utils import floatToGoString

from exporter.exposition.text import Renderer
from exporter.model import Family, FamilyValues, Format, Snapshot
from exporter.scraping.admission import Admission
from exporter.scraping.reading import BodyReader
from exporter.scraping.snapshots import Snapshots
from tests.support.compare import text_of
from tests.support.merging import expositions


def snapshot(body: bytes) -> Snapshot:
    return Snapshots().take(BodyReader(keeps_addresses=True).read(body))


def lines(families: Snapshot) -> list[str]:
    """Return the lines of all samples."""
    text = text_of(Renderer(Format.TEXT_0_0_4), families).decode()
    return [line for line in text.split("\n") if line and not line.startswith("#")]


OURS = b"""\
# TYPE a counter
a_total 1
# TYPE g gauge
g{x="1"} 1
# TYPE h histogram
h_bucket{x="1",le="1.0"} 1
h_bucket{x="1",le="+Inf"} 2
h_count{x="1"} 2
h_sum{x="1"} 3
"""
HISTOGRAM = b"""\
# TYPE h histogram
h_bucket{x="1",le="5.0"} 7
h_bucket{x="1",le="+Inf"} 8
h_count{x="1"} 8
h_sum{x="1"} 9
h_bucket{x="2",le="+Inf"} 1
h_count{x="2"} 1
h_sum{x="2"} 1
"""
CASES = {
    "another family": (b"b 1\n", ["b 1.0"], {}),
    "another series": (b'# TYPE g gauge\ng{x="2"} 5\n', ['g{x="2"} 5.0'], {}),
    "the same series": (b'# TYPE g gauge\ng{x="1"} 5\n', [], {"duplicate_series": 1}),
    "a histogram, by series": (
        HISTOGRAM,
        ['h_bucket{le="+Inf",x="2"} 1.0', 'h_count{x="2"} 1.0', 'h_sum{x="2"} 1.0'],
        {"duplicate_series": 1},
    ),
    "another type": (b'# TYPE g counter\ng{x="2"} 5\nb 1\n', ["b 1.0"], {"type_conflict": 1}),
    "a name of another family's samples": (b"# TYPE h_sum gauge\nh_sum 1\n", [], {"name_clash": 1}),
    "a name of our own metrics": (b"# TYPE own gauge\nown 1\nb 1\n", ["b 1.0"], {"reserved_name": 1}),
    "nothing": (b"", [], {}),
}


@pytest.mark.parametrize(("body", "expected", "left_out"), CASES.values(), ids=CASES)
def test_only_what_is_not_there_is_admitted(
    body: bytes, expected: list[str], left_out: dict[str, int]
) -> None:
    admission = Admission({"own"})
    for _ in range(2):  # the second time, from what is remembered
        assert lines(admission.admit(snapshot(body), snapshot(OURS))) == expected
        assert dict(+admission.left_out) == left_out


@given(expositions(), expositions())
def test_no_series_is_there_twice(theirs: bytes, ours: bytes) -> None:
    mine = snapshot(ours)
    admitted = Admission().admit(snapshot(theirs), mine)
    starts = [line.rpartition(" ")[0] for line in [*lines(mine), *lines(admitted)]]
    assert len(set(starts)) == len(starts)


def test_values_are_the_newest_though_series_are_as_before() -> None:
    admission, reader, snapshots = Admission(), BodyReader(keeps_addresses=True), Snapshots()
    ours = snapshot(b'g{x="1"} 1\n')
    for number in range(3):
        value = floatToGoString(number)
        theirs = snapshots.take(reader.read(f'g{{x="1"}} 9\ng{{x="2"}} {value}\n'.encode()))
        assert lines(admission.admit(theirs, ours)) == [f'g{{x="2"}} {value}']


def test_a_series_that_the_first_no_longer_has_comes_from_the_second() -> None:
    admission = Admission()
    theirs = snapshot(b'g{x="1"} 5\n')
    without = [FamilyValues(Family("g", "unknown", ""), [[("g", (("x", "2"),))]], [[1.0]])]
    assert lines(admission.admit(theirs, snapshot(b'g{x="1"} 1\n'))) == []
    assert lines(admission.admit(theirs, without)) == ['g{x="1"} 5.0']
    assert lines(admission.admit(theirs, ())) == ['g{x="1"} 5.0']
