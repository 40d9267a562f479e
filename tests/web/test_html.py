"""The pieces of the status pages: times and counts in words, lists that are cut, texts that are harmless."""

import pytest

from exporter.web import html

NOW = 1_700_100_000.0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "just now"),
        (0.9, "just now"),
        (1, "1 s ago"),
        (59.9, "59 s ago"),
        (60, "1 min ago"),
        (3599, "59 min ago"),
        (3600, "1 h 0 min ago"),
        (86399, "23 h 59 min ago"),
        (86400, "1 d 0 h ago"),
        (100 * 86400 + 7200, "100 d 2 h ago"),
    ],
)
def test_how_long_ago(seconds: float, words: str) -> None:
    assert html.ago(NOW - seconds, NOW) == words


def test_a_moment_that_never_was() -> None:
    assert html.ago(None, NOW) == "never"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0.0 ms"), (0.0042, "4.2 ms"), (1, "1.00 s"), (75.5, "75.50 s")]
)
def test_a_duration_has_the_unit_that_suits_it(seconds: float, words: str) -> None:
    assert html.duration(seconds) == words


@pytest.mark.parametrize(("number", "words"), [(0, "0 files"), (1, "1 file"), (1200, "1,200 files")])
def test_a_count_in_words(number: int, words: str) -> None:
    assert html.count(number, "file", "files") == words


def test_a_list_that_fits_leaves_nothing_out() -> None:
    assert html.rest(200, 200) == ""
    assert "and 1 more" in html.rest(201, 200)


def test_a_page_escapes_all_that_is_text_and_keeps_what_is_html() -> None:
    evil = "<script>&'\"\n"
    page = html.page(
        evil,
        html.State("up", evil, evil),
        version=evil,
        started=NOW - 60,
        now=NOW,
        figures=[("<i>1</i>", evil)],
        sections=[html.section(evil, html.table([html.row(html.code(evil), html.problem(evil))]))],
        details={evil: "<i>2</i>"},
    )
    assert page.count("<script>") == 1  # ours
    assert page.count("&lt;script&gt;&amp;&#x27;&quot;\\n") == 10
    assert "<i>1</i>" in page
    assert "<i>2</i>" in page
    assert "2023-11-16 02:00:00 UTC, started 1 min ago" in page
