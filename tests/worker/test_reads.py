"""Who shares a read, and who gets the next."""

import queue
import threading

from exporter.errors import ScrapeError
from exporter.worker.reads import Reads
from tests.support.waiting import DEADLINE, eventually


class Gated:
    """Reads that begin and end as a test says."""

    def __init__(self) -> None:
        self.began: queue.Queue[int] = queue.Queue()
        self.outcomes: queue.Queue[Exception | None] = queue.Queue()
        self.results: queue.Queue[tuple[str, int, BaseException | None]] = queue.Queue()
        self.number = 0
        self.reads = Reads(self._read)

    def _read(self) -> None:
        self.number += 1
        self.began.put(self.number)
        if error := self.outcomes.get(timeout=DEADLINE):
            raise error

    def ask(self, name: str) -> None:
        self.reads.ask(lambda error: self.results.put((name, self.number, error)))

    def result(self) -> tuple[str, int, BaseException | None]:
        return self.results.get(timeout=DEADLINE)

    def begins(self) -> int:
        return self.began.get(timeout=DEADLINE)


def test_a_read_is_shared_by_those_who_asked_before_it_began() -> None:
    it = Gated()
    it.ask("first")
    assert it.begins() == 1
    it.ask("second")
    it.ask("third")
    it.reads.ask()
    for _ in range(2):
        it.outcomes.put(None)
    assert [it.result() for _ in range(3)] == [("first", 1, None), ("second", 2, None), ("third", 2, None)]
    assert it.number == 2


def test_an_error_is_passed_on_and_the_next_read_is_another_one() -> None:
    it = Gated()
    it.ask("first")
    it.begins()
    it.ask("second")
    error = LookupError("a fault")
    it.outcomes.put(error)
    it.outcomes.put(None)
    assert it.result() == ("first", 1, error)
    assert it.result() == ("second", 2, None)


def test_who_withdraws_is_not_called() -> None:
    it = Gated()
    it.ask("first")
    it.begins()

    def never(error: BaseException | None) -> None:
        it.results.put(("never", 0, error))

    it.reads.ask(never)
    it.reads.withdraw(never)
    it.reads.withdraw(never)
    it.ask("second")
    for _ in range(2):
        it.outcomes.put(None)
    assert [it.result()[0] for _ in range(2)] == ["first", "second"]


def test_it_says_since_when_it_reads() -> None:
    it = Gated()
    assert it.reads.busy_since is None
    it.ask("first")
    it.begins()
    assert it.reads.busy_since is not None
    it.outcomes.put(None)
    it.result()
    assert it.reads.busy_since is None


def test_it_ends_after_what_was_asked_for() -> None:
    it, ended = Gated(), threading.Event()
    before = threading.active_count()
    it.ask("first")
    it.reads.end(ended.set)
    assert not ended.is_set()
    it.outcomes.put(None)
    it.result()
    assert ended.wait(DEADLINE)
    assert threading.active_count() <= before


def test_those_that_rest_share_one_thread_and_still_answer() -> None:
    """What is asked for before is read before; what is asked for later, in the thread of all that rest."""
    several, closed = [Gated() for _ in range(20)], threading.Semaphore(0)
    for it in several:
        it.ask("before")
        it.reads.rest(closed.release)
        it.ask("after")
        it.outcomes.put(None)
        it.outcomes.put(None)
    for it in several:
        assert [it.result()[0] for _ in range(2)] == ["before", "after"]
        assert closed.acquire(timeout=DEADLINE)
    eventually(lambda: len({id(it.reads._thread) for it in several}) == 1, "one thread")
    before = threading.active_count()
    for number, it in enumerate(several):
        it.outcomes.put(None)
        it.ask(f"later {number}")
        assert it.result()[0] == f"later {number}"
        it.reads.rest(closed.release)
        assert closed.acquire(timeout=DEADLINE)
        it.reads.end(closed.release)
        assert closed.acquire(timeout=DEADLINE)
        it.ask("too late")
        assert isinstance(it.result()[2], ScrapeError)
    assert threading.active_count() <= before, "nobody's end is the end of the thread"
    other = Gated()
    other.outcomes.put(None)
    other.reads.rest(closed.release)
    assert closed.acquire(timeout=DEADLINE)
    other.ask("another")
    assert other.result() == ("another", 1, None)


def test_a_thread_ends_with_the_rest() -> None:
    several, closed = [Gated() for _ in range(5)], threading.Semaphore(0)
    several[0].reads.rest(closed.release)
    assert closed.acquire(timeout=DEADLINE)
    before = threading.active_count()
    for it in several[1:]:
        it.reads.rest(closed.release)
        assert closed.acquire(timeout=DEADLINE)
    eventually(lambda: threading.active_count() <= before - 4, "four threads ended")


def test_who_asks_after_the_end_is_told_at_once() -> None:
    it = Gated()
    it.reads.end(lambda: None)
    it.ask("late")
    it.reads.ask()
    name, number, error = it.results.get_nowait()
    assert (name, number) == ("late", 0)
    assert isinstance(error, ScrapeError)
