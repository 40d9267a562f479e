"""The status page as a string."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from exporter.worker.page import render
from exporter.worker.status import FileStatus, ProcessStatus
from tests.web.serving import a_status, a_worker

NOW = 1_700_100_000.0


def page(**facts: object) -> str:
    return render(a_status(**facts), [], telemetry_path="/metrics", now=NOW)


def visible(html: str) -> str:
    """Return what a reader sees, in one line."""
    text: list[str] = []
    parser = HTMLParser()
    parser.handle_data = text.append  # type: ignore[assignment, method-assign]
    parser.feed(html.partition("</style>")[2].partition("<script>")[0])
    return " ".join(" ".join(text).split())


def processes(count: int, state: str) -> tuple[ProcessStatus, ...]:
    return tuple(ProcessStatus(str(100 + number), state) for number in range(count))


@pytest.mark.parametrize(
    ("up", "writers", "headline"),
    [
        (True, processes(2, "live") + processes(1, "dead"), "Worker is up 2 processes live; 1 has ended."),
        (True, processes(1, "live"), "Worker is up 1 process live."),
        (True, processes(4, "live") + processes(12, "dead"), "Worker is up 4 processes live; 12 have ended."),
        (False, processes(9, "dead"), "Worker is down: all 9 processes have died"),
        (False, processes(1, "dead"), "Worker is down: its only process has died"),
        (None, processes(9, "unknown"), "Liveness unknown The writers' names hold no pid"),
        (None, (), "Waiting for a worker No process has written metrics yet."),
    ],
)
def test_the_headline(up: bool | None, writers: tuple[ProcessStatus, ...], headline: str) -> None:  # noqa: FBT001 - a table's column
    assert headline in visible(page(worker_up=up, processes=writers))


def test_the_facts() -> None:
    text = visible(
        page(
            processes=processes(8, "live") + processes(1, "dead"),
            files=(
                FileStatus("counter_1.db", "live"),
                FileStatus("counter_2.db", "dead"),
                FileStatus("gauge_x.db", "skipped", "the name has no gauge mode"),
            ),
            series=8412,
            last_scrape=NOW - 12,
            scrape_durations={"read": 0.0042, "merge": 1.5},
            last_update=NOW - 3700,
            file_errors={"bad_name": 1234},
        )
    )
    for fact in (
        *("smg-exporter 1.2.3", "grpc://127.0.0.1:8001", "/run/prom", "started 1 d 3 h ago"),
        *("8,412 series", "2 files read", "1 files skipped", "12 s ago last scrape"),
        *("1 h 1 min ago last update", "live 8 dead 1", "live 1 dead 1 skipped 1"),
        *(
            "reason files names the name has no gauge mode 1 gauge_x.db",
            "read 4.2 ms merge 1.50 s total 1.50 s",
        ),
        *("bad_name 1,234", "/metrics", "/status.json", "/readyz", "/healthz"),
    ):
        assert fact in text


def test_skipped_files_are_grouped_by_reason() -> None:
    files = [FileStatus(f"counter_{number}.db", "skipped", "empty") for number in range(500)]
    html = page(files=(*files, FileStatus("x.db", "skipped", "odd")))
    assert "empty 500 counter_0.db counter_1.db counter_2.db and 497 more odd 1 x.db" in visible(html)


def test_the_engine_comes_first() -> None:
    view = {
        "name": "grpc://h:1",
        "model": "<m>",
        "condition": {"state": "serving", "text": "Serving"},
        "requests": {"running": 21},
        "ranks": [],
    }
    html = render(a_status(), [view], telemetry_path="/metrics", now=NOW)
    assert visible(html).index("21 running") < visible(html).index("Worker is up")
    assert "&lt;m&gt;" in html


def test_the_collector_is_named() -> None:
    assert "Collector stock" in visible(page(collector="stock"))


def test_the_directorys_problem_stands_by_the_directory() -> None:
    text = visible(page(problem="no such directory", worker_up=None))
    assert "Directory /run/prom no such directory" in text


def test_a_worker_without_an_address_is_named_by_its_directory() -> None:
    html = page(labels={})
    assert "<title>Worker is up: /run/prom</title>" in html
    assert "Worker no address Directory /run/prom" in visible(html)


def test_several_workers() -> None:
    one = a_worker(
        labels={"worker_addr": "app", "rank": "0"},
        directory="/run/fd/dp0",
        processes=processes(2, "live") + processes(1, "dead"),
        file_counts={"live": 2, "skipped": 1},
        files=(FileStatus("counter_1.db", "live"), FileStatus("odd.db", "skipped", "is odd")),
        series=7,
        last_update=NOW - 5,
        file_errors={"bad_name": 1},
    )
    other = a_worker(
        labels={"worker_addr": "app", "rank": "1"},
        directory="/run/fd/dp1",
        problem="/run/fd/dp1: gone",
        worker_up=None,
        series=3,
        file_errors={"bad_name": 2, "empty": 0},
        left_out={"late": 2, "failed": 1},
    )
    down = a_worker(worker_up=False)
    text = visible(page(workers=(one, other)))
    for fact in (
        *("1 of 2 workers up 0 down, liveness of 1 unknown.", "Worker app Directory /run/fd/dp0 /run/fd/dp1"),
        *("10 series 2 files read 1 files skipped", "5 s ago last update"),
        "rank=0 live 2 processes live; 1 has ended. 7 series",
        "rank=1 unknown /run/fd/dp1: gone 3 series left out of 3 answers",
        *(
            "Skipped files of rank=0 reason files names is odd 1 odd.db",
            "Processes of rank=0",
            "Files of rank=1 No .db files.",
        ),
        "Skipped files and samples since start bad_name 3 /",
    ):
        assert fact.removesuffix(" /") in text
    assert "2 of 2 workers up Worker" in visible(page(workers=(one, replace(other, worker_up=True))))
    assert "0 of 2 workers up 2 down" in visible(page(workers=(down, down)))


def test_every_value_is_escaped() -> None:
    hostile = "<script>\"'&\udcff\u202e\n\x1b"
    html = page(
        version=hostile,
        labels={"worker_addr": hostile},
        directory=hostile,
        problem=hostile,
        processes=(ProcessStatus(hostile, hostile),),
        files=(FileStatus(hostile, hostile), FileStatus(hostile, "skipped", hostile)),
        scrape_durations={hostile: 1.0},
        file_errors={hostile: 1},
    )
    assert html.count("<script") == 1
    assert html.count("&lt;script&gt;&quot;&#x27;&amp;\\udcff\\u202e\\n\\x1b") >= 12
    html.encode()


def test_long_lists_are_cut_with_a_count() -> None:
    files = tuple(FileStatus(f"counter_{number}.db", "dead") for number in range(7000))
    html = page(files=files)
    assert "and 6,800 more" in visible(html)
    assert "dead 7,000" in visible(html)
    assert html.count("counter_") == 200
    assert len(html) < 50_000


def test_clocks_that_disagree_and_phases_of_no_time() -> None:
    text = visible(page(last_scrape=NOW + 100, scrape_durations={"read": 0.0}))
    assert "just now last scrape" in text
    assert "never last update" in text
    assert "read 0.0 ms" in text


def test_the_page_needs_nothing_from_outside() -> None:
    html = page()
    assert not re.search(r"<(link|img|iframe)|src=|url\(|@import|https?:", html)
    assert all(link.startswith("./") for link in re.findall(r'href="([^"]*)"', html))
