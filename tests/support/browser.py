"""Debian's chromium, driven by Playwright, and what a page must never do in it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.peers import program
from tests.support.waiting import DEADLINE

WIDTHS = (390, 768, 1440)
THEMES = ("light", "dark")


class Browser:
    """A running browser."""

    def __init__(self, chromium: Any) -> None:
        self._chromium = chromium

    @contextmanager
    def page(
        self, url: str, *, width: int = 1440, height: int = 900, theme: str = "light", **options: Any
    ) -> Iterator[Any]:
        """Show a page, in a context with `options` of Playwright; fail where it complains, or asks anybody else."""
        context = self._chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme=theme, **options
        )
        complaints: list[str] = []
        asked: list[str] = []
        try:
            page = context.new_page()
            page.set_default_timeout(1000 * DEADLINE)
            page.on("console", lambda message: complaints.append(message.text))
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("request", lambda request: asked.append(request.url))
            page.goto(url)
            yield page
        finally:
            context.close()
        origin = "/".join([*url.split("/")[:3], ""])
        assert [address for address in asked if not address.startswith(origin)] == []
        assert not complaints


@contextmanager
def browser() -> Iterator[Browser]:
    """Run a browser; skip the test where there is none, or fail it in CI."""
    path = program("chromium")
    try:
        from playwright.sync_api import sync_playwright  # noqa: PLC0415 - CI installs it apart
    except ImportError:
        end = pytest.fail if os.environ.get("CI") else pytest.skip
        end("playwright is not installed: make .venv/browser")
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # as root there is none
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=sandbox)
        try:
            yield Browser(chromium)
        finally:
            chromium.close()


def violations(page: Any) -> list[str]:
    """Return what axe-core finds on a page, in a line each."""
    from axe_playwright_python.sync_playwright import Axe  # noqa: PLC0415 - CI installs it apart

    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {node['html'][:200]}" for one in found for node in one["nodes"]]


def overflow(page: Any) -> int:
    """Return by how many pixels a page is wider than its window."""
    return int(page.evaluate("document.documentElement.scrollWidth - innerWidth"))
