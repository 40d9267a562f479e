"""The engine view as HTML: figures as text, sections where there is something to show, workers in order."""

import re
from typing import Any

import pytest

from exporter.engine.condition import STATES
from exporter.engine.tracker import FIGURES, Tracker
from exporter.engine.view import QUEUES
from exporter.web import engine_page
from tests.support.snapshots import Snapshots, counter, gauge


def view(
    address: str = "grpc://h:1", running: float = 3, ranks: int = 2, *, up: bool = True
) -> dict[str, Any]:
    """Return the view of a worker after two reads."""
    tracker, snapshots = Tracker(), Snapshots()
    for number in (0, 1):
        lines = gauge(
            "sglang:num_running_reqs", {f'tp_rank="{rank}"': running - rank for rank in range(ranks)}
        )
        lines += gauge("sglang:token_usage", {"": 0.042}) + counter(
            "sglang:generation_tokens", {"": 123456 * number}
        )
        tracker.take(1000 + number, snapshots.of(lines), up=up)
    return {"name": address, "worker_addr": address, **tracker.view()}


def test_each_figure_that_is_shown_is_in_the_view() -> None:
    whole = view() | {
        "speculative": {"accept_rate": 0.5, "accept_length": 2.0},
        "disaggregation": {
            "queues": dict.fromkeys(QUEUES, 1.0),
            "transfer_seconds": {"p95": 0.1},
            "failed_transfers_per_second": 0.0,
        },
    }
    html = engine_page.worker(whole)
    rank = view()["ranks"][0] | {
        "queued": 0,
        "generated_per_second": 0,
        "latency_seconds": {"queue": {"p95": 0}},
    }
    paths = set(re.findall(r'data-(?:path|bar)="([^"]*)"', html))
    assert len(paths) > 15
    for path in paths - {"share"}:
        found: Any = whole if path.split(".")[0] in whole else rank
        for name in path.split("."):
            assert name in found, path
            found = found[name]


def test_each_line_of_a_chart_has_a_history() -> None:
    lines = {
        name
        for names in re.findall(r'data-series="([^"]*)"', engine_page.worker(view()))
        for name in names.split()
    }
    assert len(lines) > 10
    assert lines <= FIGURES.keys()


@pytest.mark.parametrize(
    ("value", "format_", "text"),
    [
        (None, "rate", "\N{EN DASH}"),
        (21.0, "count", "21"),
        (1520.0, "count", "1,520"),
        (1.5, "count", "1.5"),
        (0.0, "rate", "0"),
        (0.034, "rate", "0.03"),
        (6.66, "rate", "6.7"),
        (1520.4, "rate", "1,520"),
        (123456.0, "rate", "123.5k"),
        (0.0, "ratio", "0 %"),
        (0.042, "ratio", "4.2 %"),
        (0.56, "ratio", "56 %"),
        (0.0042, "seconds", "4.2 ms"),
        (0.09, "seconds", "90 ms"),
        (1.25, "seconds", "1.25 s"),
        (12.5, "seconds", "12.5 s"),
        (125.0, "seconds", "125 s"),
    ],
)
def test_figures_as_text(value: float | None, format_: str, text: str) -> None:
    assert engine_page.shown(value, format_) == text


def test_ranks_are_shown_where_there_are_several() -> None:
    assert '<section id="ranks">' in engine_page.worker(view(ranks=2))
    assert '<section id="ranks" hidden>' in engine_page.worker(view(ranks=1))


def test_a_rank_that_lags_is_marked_by_a_word() -> None:
    lagging = view(ranks=3)
    lagging["ranks"][1]["lags"] = True
    rows = re.findall(r'<tr data-key="([^"]+)">(.*?)</tr>', engine_page.worker(lagging))
    marks = {
        name: re.search(r'<span class="mark" data-if="lags"( hidden)?>lags</span>', row) for name, row in rows
    }
    assert {name: bool(mark and not mark[1]) for name, mark in marks.items()} == {
        "tp 0": False,
        "tp 1": True,
        "tp 2": False,
    }


def test_sections_are_there_where_they_have_something_to_show() -> None:
    speculating: dict[str, Any] = {"speculative": {"accept_rate": 0.5, "accept_length": 2.0}}
    prefilling: dict[str, Any] = {"disaggregation": {"queues": {}, "transfer_seconds": {}}}
    sections = {"speculative", "disaggregation"}
    for more, there in (({}, set()), (speculating, {"speculative"}), (prefilling, {"disaggregation"})):
        html = engine_page.worker(view() | more, is_one_of_several=True)
        assert sections.intersection(re.findall(r'data-if="([^"]*)" hidden', html)) == sections - there


def test_of_a_worker_without_an_engine_there_is_nothing_but_its_name_among_others() -> None:
    app = view() | {"engine": None}
    for nothing in (app, engine_page.NOTHING):
        assert engine_page.worker(nothing).startswith('<div id="engine"><div data-if="engine" hidden>')
        one = engine_page.worker(nothing, is_one_of_several=True)
        assert one.startswith('<div id="engine"><section class="state" data-state="')
        assert "All workers" in one.partition('<div data-if="engine" hidden>')[0]
    assert engine_page.worker(view()).startswith('<div id="engine"><div data-if="engine">')


def test_workers_in_trouble_come_first() -> None:
    views = [
        view("grpc://b:1"),
        view("grpc://a:1"),
        view("grpc://c:1", up=False),
        view("grpc://d:1", running=0),
    ]
    html = engine_page.workers(views)
    body = html[html.index("<tbody>") : html.index("</tbody>")]
    assert re.findall(r'data-key="([^"]*)"', body) == [f"grpc://{name}:1" for name in "cabd"]
    assert re.findall(r"(\d) (?:down|serving|idle)<", html) == ["1", "2", "1"]
    assert 'href="./?worker=grpc%3A%2F%2Fa%3A1"' in html


def test_what_others_say_is_escaped() -> None:
    evil = "<script>\"'&"
    for html in (
        engine_page.worker(view(evil) | {"model": evil}, is_one_of_several=True),
        engine_page.workers([view(evil)]),
    ):
        assert "<script" not in html
        assert "&lt;script&gt;" in html


def test_states_are_those_of_the_engine_view() -> None:
    assert STATES == engine_page._TROUBLE_FIRST
