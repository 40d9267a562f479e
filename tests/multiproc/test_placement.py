from exporter.multiproc.faults import Fault
from exporter.multiproc.placement import Placement
from exporter.multiproc.series import Family, Series


def number(name: str) -> Series:
    return A.find(name, ())


def placed(*cells: tuple[Family, Series, float]) -> Placement:
    placement = Placement()
    for cell in cells:
        placement.add(*cell)
    return placement


A, B = (Family(name, "Help.", "histogram", "histogram") for name in "ab")


def test_cells_of_a_family_by_series_and_column() -> None:
    first, second = number("x"), number("y")
    placement = placed((A, first, 1.0), (A, first, 2.0), (B, second, 1.0), (A, second, 1.0))
    assert placement.shares(A) == {first: [{1.0: 0, 2.0: 1}], second: [{1.0: 3}]}
    assert placement.series_of(A) == {first, second}
    assert placement.shares(B) == {second: [{1.0: 2}]}


def test_a_column_that_is_there_twice_makes_two_rows() -> None:
    series = number("x")
    placement = placed((A, series, 1.0), (A, series, 1.0), (A, series, 2.0), (A, series, 1.0))
    assert placement.shares(A) == {series: [{1.0: 0, 2.0: 2}, {1.0: 1}, {1.0: 3}]}


def test_entries_that_are_left_out_have_no_series() -> None:
    series, fault = number("x"), Fault("bad_key", "is odd")
    placement = Placement()
    placement.leave_out(fault)
    placement.add(A, series, 0.0)
    assert placement.series == [None, series]
    assert placement.bad_keys == [fault]
    assert placement.shares(A) == {series: [{0.0: 1}]}


def test_one_that_begins_with_another() -> None:
    x, y = number("x"), number("y")
    short, long = placed((A, x, 0.0)), placed((A, x, 0.0), (A, y, 0.0))
    assert long.begins_with(short)
    assert not short.begins_with(long)
    assert not placed((A, x, 1.0)).begins_with(short)
    assert not placed((A, y, 0.0), (A, x, 0.0)).begins_with(short)


def test_a_copy_goes_its_own_way() -> None:
    x, y = number("x"), number("y")
    before = placed((A, x, 0.0))
    before.dead = 3
    twin = before.copy()
    assert not twin.is_used
    twin.add(A, y, 0.0)
    twin.leave_out(Fault("bad_key", "is odd"))
    assert before.shares(A) == {x: [{0.0: 0}]}
    assert (before.series, before.bad_keys) == ([x], [])
    assert twin.begins_with(before)
