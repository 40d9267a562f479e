import pytest

from exporter.discovery.visits import GivenUpError, Hanging, Visit, Visits

SEVEN, EIGHT = Visit(7, 100), Visit(8, 100)


def test_each_visit_is_another_object_even_of_the_same_process() -> None:
    visits = Visits()
    assert visits.enter(7, 100)
    first = visits.at
    assert visits.enter(7, 100)
    assert (first, visits.at) == (SEVEN, SEVEN)
    assert visits.at is not first
    visits.leave()
    assert visits.at is None


def test_a_process_that_is_avoided_is_not_visited_but_a_later_one_of_its_pid_is() -> None:
    visits = Visits({SEVEN})
    assert not visits.enter(7, 100)
    assert visits.at is None
    assert visits.enter(7, 101)


def test_a_look_that_is_given_up_ends_at_the_end_of_its_visit() -> None:
    visits = Visits()
    visits.enter(7, 100)
    visits.give_up()
    with pytest.raises(GivenUpError):
        visits.enter(8, 100)
    with pytest.raises(GivenUpError):
        visits.leave()
    assert visits.at == SEVEN
    assert not issubclass(GivenUpError, Exception), "what handles the faults of a process does not handle it"


class Watched:
    """Processes that made looks hang, over time, while some live."""

    def __init__(self) -> None:
        self.hanging = Hanging()
        self.living = {SEVEN, EIGHT}

    def avoided(self, now: float) -> set[Visit]:
        self.hanging.review(self.living.__contains__, now)
        return set(self.hanging.avoided)


def test_a_process_is_avoided_for_as_long_as_its_look_hangs() -> None:
    it = Watched()
    avoided = it.hanging.avoided
    it.hanging.note_hang(SEVEN)
    assert it.avoided(1e9) == {SEVEN}
    assert it.hanging.avoided is avoided, "finders hold it"


def test_it_is_avoided_for_ever_longer_after_that() -> None:
    it = Watched()
    waits = []
    for _ in range(8):
        it.hanging.note_hang(SEVEN)
        it.hanging.note_end(SEVEN, 1000.0)
        waits.append(next(wait for wait in range(0, 10**6, 30) if not it.avoided(1000.0 + wait)))
    assert waits[:3] == [60, 240, 960]
    assert waits[-1] == 86400


def test_who_has_ended_is_forgotten() -> None:
    it = Watched()
    it.hanging.note_hang(SEVEN)
    it.hanging.note_hang(EIGHT)
    it.living.remove(SEVEN)
    assert it.avoided(0.0) == {EIGHT}
    it.hanging.note_end(SEVEN, 0.0)
    assert it.avoided(1.0) == {EIGHT}
