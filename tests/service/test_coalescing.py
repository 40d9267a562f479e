"""Who shares work with whom."""

import asyncio

import pytest

from exporter.service.coalescing import Coalescer


class Work:
    """Batches of names, of which the last one begun is under way until the test calls `done`."""

    def __init__(self) -> None:
        self.begun: list[list[str]] = []
        self.coalescer: Coalescer[list[str]] = Coalescer(list, self.begun.append)

    async def ask(self, *names: str) -> None:
        for name in names:
            self.coalescer.join().append(name)
        await asyncio.sleep(0)


@pytest.fixture(name="work")
async def _work() -> Work:
    return Work()


async def test_those_who_ask_together_share_work(work: Work) -> None:
    await work.ask("a", "b", "c")
    assert work.begun == [["a", "b", "c"]]


async def test_who_asks_while_work_is_under_way_shares_the_next(work: Work) -> None:
    await work.ask("a")
    await work.ask("b")
    await work.ask("c")
    assert work.begun == [["a"]]
    work.coalescer.done()
    assert work.begun == [["a"], ["b", "c"]]


async def test_nothing_begins_for_nobody(work: Work) -> None:
    await work.ask("a")
    work.coalescer.done()
    await asyncio.sleep(0)
    assert work.begun == [["a"]]
    await work.ask("b")
    assert work.begun == [["a"], ["b"]]
