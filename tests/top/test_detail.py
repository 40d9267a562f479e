"""One worker in full."""

from collections.abc import Mapping
from typing import Any

import pytest

from exporter.top.detail import detail
from exporter.top.texts import length, plain
from tests.top.engines import down, view

VIEW = view()


def lines(one: Mapping[str, Any], width: int = 80, height: int = 21) -> list[str]:
    return [plain(line) for line in detail(one, width, height)]


def test_it_says_how_the_worker_does() -> None:
    it = lines(VIEW)
    assert it[0] == "grpc://10.0.0.7:8001  up  sglang  meta/llama"
    assert it[2].split() == ["requests", "running", "3", "queued", "1", "a", "second", "10", "aborted", "-"]
    assert it[3].split() == ["tokens/s", "in", "4k", "cached", "1k", "out", "1k", "cache", "hits", "25%"]
    assert it[4].startswith("KV cache   60% █████")
    assert next(line for line in it if line.startswith("first token")).split() == (
        ["first", "token", "50", "ms", "95", "ms", "99", "ms"]
    )
    assert next(line for line in it if line.startswith("in the queue")).split()[-3:] == ["-", "-", "-"]


def test_ranks_are_told_apart_by_what_differs() -> None:
    it = lines(VIEW)
    place = next(place for place, line in enumerate(it) if line.startswith("rank"))
    assert [line.split()[:3] for line in it[place + 1 :]] == [["tp0", "3", "1"], ["tp1", "3", "1"]]
    (alone,) = [line for line in lines(view(ranks=1)) if line.startswith("tp0")]
    assert alone.split()[:3] == ["tp0", "3", "1"]


def test_a_rank_that_lags_is_marked_by_a_word() -> None:
    one = view()
    ranks = [{**rank, "lags": rank["tp_rank"] == "1"} for rank in one["ranks"]]
    found = [line for line in lines({**one, "ranks": ranks}) if line.startswith("tp")]
    assert [line.endswith(" lags") for line in found] == [False, True]


def test_charts_are_as_wide_as_the_terminal_and_as_high_as_fits() -> None:
    low = [line for line in lines(VIEW) if line.startswith("tokens out/s")]
    assert low[0].endswith("1k")
    assert len(low[0]) == 80
    high = lines(VIEW, 80, 60)
    place = next(place for place, line in enumerate(high) if line.startswith("tokens out/s"))
    assert high[place].endswith("most 1k")
    assert "▇" in high[place + 1]
    assert "█" in high[place + 2]


@pytest.mark.parametrize(
    ("width", "height"), [(40, 10), (80, 21), (120, 40), (126, 40), (200, 57), (300, 100)]
)
@pytest.mark.parametrize("one", [VIEW, view(ranks=16), down()], ids=["up", "many ranks", "down"])
def test_it_fits_the_terminal(one: Mapping[str, Any], width: int, height: int) -> None:
    it = detail(one, width, height)
    if width >= 80:
        assert max(map(length, it)) <= width
    if height >= 40:
        assert len(it) <= height


def test_in_a_wide_terminal_ranks_stand_beside_the_figures() -> None:
    it = lines(VIEW, 200, 57)
    (line,) = [line for line in it if line.startswith("requests")]
    assert "rank" in line


def test_a_worker_that_is_down_says_why() -> None:
    it = lines(down())
    assert it[:2] == ["grpc://10.0.0.8:8001  DOWN  unknown engine", "cannot connect: Connection refused"]


def test_speculation_and_disaggregation_are_told_where_there_is_any() -> None:
    assert not [line for line in lines(VIEW) if line.startswith(("drafts", "queues"))]
    it = lines(
        {
            **VIEW,
            "speculative": {"accept_rate": 0.72, "accept_rate_worst": 0.7, "accept_length": 2.9},
            "disaggregation": {"queues": {"prefill_bootstrap": 1.0, "decode_transfer": None}},
        }
    )
    (drafts,) = [line for line in it if line.startswith("drafts")]
    assert drafts.split() == ["drafts", "accepted", "72%", "tokens", "a", "step", "2.90"]
    (queues,) = [line for line in it if line.startswith("queues")]
    assert queues.split() == ["queues", "bootstrap", "1", "transfer", "-"]


def test_names_of_others_cannot_steer_the_terminal() -> None:
    it = "\n".join(lines({**VIEW, "worker_addr": "a\x1b[2J", "model": "m\x1b[2J", "problem": "p\x07"}))
    assert not any(not character.isprintable() for character in it.replace("\n", ""))
