"""All workers as a table."""

import pytest

from exporter.top.overview import COLUMNS, NAME, Order, fitting, table
from exporter.top.poll import key
from exporter.top.texts import length, plain
from tests.top.engines import down, view

ONE, TWO, GONE = view(), view("grpc://10.0.0.9:8001", running=7, ranks=1), down()
VIEWS = Order().sort([TWO, GONE, ONE])


def test_a_line_says_how_a_worker_does() -> None:
    titles, one, gone, _ = (plain(line) for line in table(VIEWS, 100, Order(), key(ONE)))
    assert dict(zip(titles.split(), one.removeprefix("> ").replace(" ms", "ms").split(), strict=True)) == {
        "WORKER↑": "grpc://10.0.0.7:8001",
        "STATE": "up",
        "RUN": "3",
        "QUEUE": "1",
        "REQ/S": "10",
        "IN/S": "4k",
        "OUT/S": "1k",
        "CACHE": "25%",
        "KV": "60%",
        "TTFT95": "95ms",
        "ITL95": "-",
        "E2E95": "-",
    }
    assert gone == "  grpc://10.0.0.8:8001   DOWN  cannot connect: Connection refused"


@pytest.mark.parametrize("width", [40, 60, 80, 100, 132, 200, 300])
def test_it_fits_the_terminal(width: int) -> None:
    lines = table(VIEWS, width, Order("RUN", descending=True), key(ONE))
    assert max(map(length, lines)) <= width
    assert "STATE" in plain(lines[0])


def test_in_80_characters_it_tells_what_matters() -> None:
    _, shown = fitting([view["worker_addr"] for view in VIEWS], 80)
    titles = ["STATE", "RUN", "QUEUE", "OUT/S", "KV", "TTFT95", "ITL95"]
    assert [column.title for column in shown if column.title in titles] == titles


def test_wide_terminals_have_room_for_history_and_model() -> None:
    titles, one, *_ = table(VIEWS, 200, Order())
    assert plain(titles).endswith("MODEL")
    assert "▇" in plain(one)
    assert plain(one).endswith("meta/llama")


def test_a_long_name_is_cut() -> None:
    name = f"grpc://{'very-' * 20}long:8001"
    (_, line) = table([view(name)], 80, Order())
    assert "…" in plain(line)
    assert length(line) <= 80


def test_sorting() -> None:
    def names(order: Order) -> list[str]:
        return [view["worker_addr"][-6] for view in order.sort([TWO, GONE, ONE])]

    assert names(Order()) == ["7", "8", "9"]
    assert names(Order(NAME, descending=True)) == ["9", "8", "7"]
    assert names(Order("RUN")) == ["7", "9", "8"], "unknown last"
    assert names(Order("RUN", descending=True)) == ["9", "7", "8"]
    assert names(Order("STATE")) == ["8", "7", "9"], "down first"


def test_each_column_can_be_sorted_by() -> None:
    for column in COLUMNS:
        assert len(Order(column.title).sort(VIEWS)) == 3
