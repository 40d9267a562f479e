"""What the terminal shows, and what keys change of it."""

import pytest

from exporter.top.board import Board
from exporter.top.poll import View
from exporter.top.texts import length, plain
from tests.top.engines import down, view

MANY = [view(f"grpc://10.0.0.{number}:8001", running=number, seconds=3) for number in range(10, 50)]


def board(*views: View, width: int = 80, height: int = 24) -> Board:
    it = Board(5.0)
    it.resize(width, height)
    it.take(views)
    return it


def text(it: Board) -> str:
    return "\n".join(map(plain, it.lines()))


def chosen(it: Board) -> str:
    (line,) = [line for line in text(it).splitlines() if line.startswith("> ")]
    return line.split()[1]


def test_before_the_first_read_it_says_so() -> None:
    it = Board(5.0)
    for _ in range(2):
        assert "reading ..." in text(it)
        it.open()
        it.move(1)


def test_the_head_counts_workers_and_tells_the_window() -> None:
    head = text(board(view(), down())).splitlines()[0]
    assert head.startswith("smg-exporter top   2 workers, 1 up   rates over 5 s")


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 60), (60, 10)])
@pytest.mark.parametrize("views", [[], [view()], [view(), down()], MANY], ids=["none", "one", "two", "many"])
def test_it_has_as_many_lines_as_the_terminal(views: list[View], width: int, height: int) -> None:
    it = board(*views, width=width, height=height)
    for _ in range(2):
        lines = it.lines()
        assert len(lines) == height
        assert width < 80 or max(map(length, lines)) <= width
        assert plain(lines[-1]).endswith("quit") or "CACHE" in plain(lines[-1])
        it.open()


def test_a_lone_worker_is_open_until_one_asks_for_all() -> None:
    it = board(view())
    assert "latency" in text(it)
    it.close()
    it.take([view()])
    assert "WORKER" in text(it)
    it.open()
    it.take([view(), down()])
    assert "latency" in text(it)


def test_choosing_goes_with_the_worker_not_the_line() -> None:
    it = board(*MANY)
    it.move(2)
    assert chosen(it) == "grpc://10.0.0.12:8001"
    it.take(MANY[1:])
    assert chosen(it) == "grpc://10.0.0.12:8001"
    it.move(1)
    assert chosen(it) == "grpc://10.0.0.13:8001"
    it.take([view for view in MANY if "0.13" not in view["worker_addr"]])
    assert chosen(it) == "grpc://10.0.0.10:8001", "the first, where the chosen one is gone"


def test_the_chosen_one_stays_in_sight() -> None:
    it = board(*MANY)
    for lines in (100, -3, -100, 7):
        it.move(lines)
        assert chosen(it)
    assert "WORKER" in text(it), "titles do not scroll"


def test_one_opens_and_scrolls_and_closes() -> None:
    it = board(view(ranks=16), down())
    it.open()
    assert "tp15" not in text(it)
    it.move(100)
    assert "tp15" in text(it)
    it.move(-100)
    assert "requests" in text(it)
    it.close()
    assert "WORKER" in text(it)


def test_sorting_goes_through_the_columns_shown() -> None:
    it = board(*MANY)
    it.sort()
    assert "STATE↑" in text(it)
    it.sort()
    assert "RUN↓" in text(it)
    assert text(it).splitlines()[3].split()[:2] == [">", "grpc://10.0.0.49:8001"]
    it.reverse()
    assert "RUN↑" in text(it)
    for _ in range(20):
        it.sort()
        assert sum(mark in text(it) for mark in ("↑ ", "↓ ", "↑\n", "↓\n")) >= 1


def test_a_paused_board_shows_no_news() -> None:
    it = board(view(), down())
    it.pause()
    it.take([view()])
    assert "2 workers" in text(it)
    assert "PAUSED" in text(it)
    it.pause()
    it.take([view()])
    assert "1 worker," in text(it)
    assert "PAUSED" not in text(it)


def test_titles_are_explained_where_there_is_room() -> None:
    for width in (80, 250):
        assert "95th percentiles" in " ".join(text(board(view(), down(), width=width)).split())
    assert "95th" not in text(board(*MANY))


def test_a_worker_that_two_expositions_tell_of_is_there_twice() -> None:
    it = board(view(), {**view(), "url": "http://fleet/metrics"}, down())
    places = []
    for _ in range(3):
        places.append([line[:2] for line in text(it).splitlines()[3:6]].index("> "))
        it.move(1)
    assert places == [0, 1, 2]
