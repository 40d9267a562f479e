"""A worker's endpoints: the pages, and the metrics where its option says."""

import aiohttp
import pytest

from exporter.paths import PAGES
from exporter.worker.app import make_app
from tests.web.serving import FakeSource, FakeViews, a_status, serving


async def test_metrics_win_over_a_page_of_the_same_path() -> None:
    async with (
        serving(telemetry_path="/") as served,
        aiohttp.ClientSession() as client,
        client.get(f"{served.url}/") as answer,
    ):
        assert await answer.read() == served.source.body


def test_the_reserved_paths_are_those_of_the_pages() -> None:
    app = make_app(
        FakeSource(),
        lambda: "",
        a_status,
        FakeViews(),
        telemetry_path="/telemetry",
        max_requests=1,
        on_response=lambda _: None,
    )
    assert {resource.canonical for resource in app.router.resources()} == {*PAGES, "/telemetry"}


def test_a_telemetry_path_that_is_no_path_is_refused_before_anything_is_served() -> None:
    with pytest.raises(ValueError, match="path"):
        make_app(
            FakeSource(),
            lambda: "",
            a_status,
            FakeViews(),
            telemetry_path="metrics",
            max_requests=1,
            on_response=lambda _: None,
        )
