"""The terminal, driven by Textual's own pilot."""

import asyncio

import pytest
from textual.pilot import Pilot

from exporter.scraping.client import Answer
from exporter.top.poll import Source
from exporter.top.screen import Screen
from tests.top.engines import sglang

DEADLINE = 15.0


class Engines:
    """Workers of one exposition at work."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.reads = 0

    async def __call__(self, _url: str) -> Answer:
        self.reads += 1
        bodies = (
            sglang(self.reads, running=number, labels=f'worker_addr="grpc://h:{number}"')
            for number in range(1, self.count + 1)
        )
        return Answer(["".join(bodies).encode()], compressed=False)


def screen(count: int) -> Screen:
    return Screen([Source("http://h/metrics", "h", Engines(count), window=5.0)], 5.0)


def shown(it: Screen) -> list[str]:
    """Return the lines as the terminal has them."""
    return [it._lines.render_line(y).text.rstrip() for y in range(it.size.height)]


async def until(pilot: Pilot[None], it: Screen, text: str) -> list[str]:
    """Wait until a text is shown; return the lines."""
    async with asyncio.timeout(DEADLINE):
        while not any(text in line for line in shown(it)):
            it.draw()
            await pilot.pause()
    return shown(it)


@pytest.mark.parametrize("size", [(80, 24), (200, 60)])
async def test_the_whole_way(size: tuple[int, int]) -> None:
    it = screen(3)
    async with it.run_test(size=size) as pilot:
        lines = await until(pilot, it, "grpc://h:3")
        assert len(lines) == size[1]
        assert all(len(line) <= size[0] for line in lines)
        assert lines[0].startswith("smg-exporter top   3 workers, 3 up")
        assert lines[3].startswith("> grpc://h:1")
        await pilot.press("down", "j", "up")
        assert shown(it)[4].startswith("> grpc://h:2")
        await pilot.press("enter")
        assert (await until(pilot, it, "latency"))[2].startswith("grpc://h:2  up  sglang")
        await pilot.press("escape", "s", "s")
        assert shown(it)[3].startswith("> grpc://h:3"), "the one with the most requests first"
        await pilot.press("r")
        assert shown(it)[3].startswith("> grpc://h:1")
        await pilot.press("p")
        assert "PAUSED" in shown(it)[0]
        await pilot.press("space", "pagedown", "k")
        assert "PAUSED" not in shown(it)[0]
        assert shown(it)[4].startswith("> grpc://h:2")
        await pilot.press("q")
    assert it.return_code == 0
    assert all(task.done() for task in it._reading)


async def test_a_lone_worker_is_shown_at_once_and_fits_a_new_size() -> None:
    it = screen(1)
    async with it.run_test(size=(80, 24)) as pilot:
        await until(pilot, it, "latency")
        await pilot.resize_terminal(130, 40)
        lines = await until(pilot, it, "the last minute")
        assert len(lines) == 40
        assert any("requests" in line and "rank" in line for line in lines)


async def test_styles_are_known() -> None:
    it = screen(2)
    async with it.run_test(size=(200, 60)) as pilot:
        await until(pilot, it, "grpc://h:2")
        picture = it.export_screenshot()
        assert "grpc://h:2" in picture
        assert it.board.lines()
