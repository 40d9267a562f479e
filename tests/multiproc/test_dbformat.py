import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.multiproc import dbformat
from exporter.multiproc.dbformat import Shapes
from exporter.multiproc.faults import BadFileError
from tests.support.files import raw_entry, raw_file


def data_of(*entries: bytes) -> bytearray:
    return bytearray(raw_file(*entries, tail=0))


def numbered(count: int, value: float = 1.0) -> list[bytes]:
    return [raw_entry(f"key {number}".encode(), value, value + 1.0) for number in range(count)]


@pytest.mark.parametrize("stamped", [False, True])
@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 200])
def test_keys_and_cells(count: int, *, stamped: bool) -> None:
    data = data_of(*numbered(count, 5.0))
    found = Shapes(stamped=stamped).find(data)
    assert list(found.keys(data)) == [f"key {number}".encode() for number in range(count)]
    assert list(found.keys(data, 30)) == list(found.keys(data))[30:]
    assert found.all_cells(data) == [(5.0, 6.0) if stamped else 5.0] * count
    assert found.used == len(data)
    assert [at for block in found.groups for at in range(count)[block.cells]] == list(range(count))


@pytest.mark.parametrize(("before", "after"), [(0, 1), (1, 2), (63, 65), (64, 65), (80, 200)])
def test_a_shape_that_grew_is_the_one_of_a_file_of_that_size(before: int, after: int) -> None:
    shapes = Shapes(stamped=False)
    short, long = data_of(*numbered(before)), data_of(*numbered(after))
    grown, whole = shapes.find(short).grown(long), shapes.find(long)
    assert (grown.skips, grown.used) == (whole.skips, whole.used)
    assert [block[:2] for block in grown.groups] == [block[:2] for block in whole.groups]
    assert grown.all_cells(long) == whole.all_cells(long)
    assert grown.groups[: before // 64] == shapes.find(short).groups[: before // 64], "whole groups stay"


def test_files_with_the_same_keys_share_their_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = Shapes(stamped=False)
    first = shapes.find(data_of(*numbered(50)))
    assert shapes.find(data_of(*numbered(50)[::-1])) is not first
    monkeypatch.setattr(shapes.none, "grown", lambda _: pytest.fail("its entries were walked over"))
    assert shapes.find(data_of(*numbered(50, 7.0))) is first
    for _ in range(2):
        shapes.shrink()
        assert shapes.find(data_of(*numbered(50))) is first
        with pytest.raises(pytest.fail.Exception):
            shapes.find(data_of(*numbered(49), raw_entry(b"key 50")))


def test_shapes_of_the_same_size_and_first_key_are_told_apart() -> None:
    shapes = Shapes(stamped=False)
    for second in (b"bb", b"cc", b"bb") * 2:
        data = data_of(raw_entry(b"aa"), raw_entry(second))
        assert list(shapes.find(data).keys(data)) == [b"aa", second]
        shapes.shrink()


def test_only_so_many_shapes_are_remembered() -> None:
    shapes = Shapes(stamped=False)
    for number in range(3 * Shapes.MOST):
        shapes.find(data_of(raw_entry(f"key {number}".encode())))
        assert len(shapes._known) <= Shapes.MOST
    assert len(shapes._known) == Shapes.MOST


def test_a_key_beyond_all_reason_costs_the_file() -> None:
    longest = b"k" * dbformat.MOST_KEY_BYTES
    data = data_of(raw_entry(longest))
    assert list(Shapes(stamped=False).find(data).keys(data)) == [longest]
    shapes = Shapes(stamped=False)
    with pytest.raises(
        BadFileError, match="has a key of 1048577 bytes at byte 8, more than the 1048576 allowed"
    ) as caught:
        shapes.find(data_of(raw_entry(longest + b"k")))
    assert caught.value.fault.reason == "too_large"
    assert not shapes._known


lengths = st.one_of(st.integers(-40, 40), st.integers(-(2**31), 2**31 - 1))


@given(lies=st.lists(st.tuples(st.binary(max_size=20), lengths), max_size=6), used=st.none() | lengths)
def test_walks_end_whatever_the_lengths_say(lies: list[tuple[bytes, int]], used: int | None) -> None:
    data = bytearray(raw_file(*(raw_entry(key, length=length) for key, length in lies), used=used))
    data = data[: max(0, min(len(data), struct.unpack_from("=i", data)[0]))]
    walk = dbformat._entries(data, 8)
    steps = 0
    try:
        for start, skip in walk:
            steps += 1
            assert 0 < skip <= len(data) - start - 16
            assert (skip + 16) % 8 == 0
    except BadFileError as error:
        assert error.fault.reason == "corrupt"  # noqa: PT017 - not raising is right too
    assert steps <= len(data) // 24
