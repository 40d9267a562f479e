"""The fleet's status page."""

import json
from html import escape

import pytest

from exporter.fleet.page import render
from exporter.fleet.status import FleetStatus, SourceStatus, TargetStatus
from exporter.fleet.targets import from_option, from_smg
from tests.fleet.served import fleet
from tests.support.targets import answer, serving

NOW = 1_700_100_000.0


def page(*states: str, problem: str = "", sources: tuple[SourceStatus, ...] = ()) -> str:
    """Return the page of targets in these states."""
    targets = tuple(TargetStatus(f"w{number}", "http://h/", state) for number, state in enumerate(states))
    return render(FleetStatus(NOW, problem, targets, sources), [], now=NOW)


async def test_the_status_page_shows_targets_and_escapes_what_others_say() -> None:
    evil = from_smg({"url": "grpc://127.0.0.1:1", "labels": {"team": "<script>alert(1)</script>"}}, "smg")
    async with serving(answer()) as worker, fleet(from_option(worker.worker), evil) as served:
        await served.get("/engine_metrics")
        _, headers, body = await served.get("/")
        text = body.decode()
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert "1 of 2 targets down" in text
        assert worker.worker in text
        assert text.count("<script>") == 1
        _, _, body = await served.get("/status.json")
    facts = json.loads(body)
    assert facts["ready"] is True
    assert [target["state"] for target in facts["targets"]] == ["up", "down"]
    assert facts["targets"][1]["problem"]
    assert facts["targets"][0]["samples"] == 1


@pytest.mark.parametrize(
    ("states", "tone", "headline"),
    [
        ([], "down", "No target"),
        (["up"], "up", "1 target up"),
        (["up", "down", "dead"], "down", "2 of 3 targets down"),
        (["dead", "down"], "down", "2 targets down: no worker is up"),
        (["down", "unknown"], "unknown", "2 targets"),
    ],
)
def test_the_headline(states: list[str], tone: str, headline: str) -> None:
    html = page(*states, problem="" if states else "smg: away")
    assert f"<title>{headline}</title>" in html
    assert f'class="state" data-state="{tone}"' in html
    assert ("smg: away" in html) == (not states)


@pytest.mark.parametrize(
    ("states", "remark"),
    [
        (["up", "down"], "1 cannot be scraped. The other targets' metrics are served."),
        (["down", "down"], "2 cannot be scraped."),
        (
            ["down", "dead"],
            "1 cannot be scraped. 1 can be scraped, but all of the worker's processes are dead.",
        ),
    ],
)
def test_only_where_there_are_others_they_are_spoken_of(states: list[str], remark: str) -> None:
    assert f"<p>{escape(remark)}</p>" in page(*states)


def test_targets_in_trouble_come_first() -> None:
    html = page("up", "unknown", "dead", "down")
    assert (
        html.index("<code>w3<") < html.index("<code>w2<") < html.index("<code>w1<") < html.index("<code>w0<")
    )


def test_a_worker_that_its_source_has_forgotten_says_so() -> None:
    for listed in (True, False):
        target = TargetStatus("grpc://h:1", "http://h:10001/metrics", "down", listed=listed)
        html = render(FleetStatus(NOW, "", (target,)), [], now=NOW)
        assert ("no longer listed by its source" in html) is not listed


def test_a_source_has_its_problem_beside_it() -> None:
    html = page("up", sources=(SourceStatus("smg", 3, 2, "<away>", NOW - 60, ("<no port>",)),))
    assert "&lt;away&gt;" in html
    assert "&lt;no port&gt;" in html
    assert "3 targets, 2 skipped" in html
    assert "read 1 min ago" in html


@pytest.mark.parametrize("count", [20, 21])
def test_many_targets_are_folded_up(count: int) -> None:
    assert ("<summary>21 targets</summary>" in page(*["up"] * count)) == (count == 21)
