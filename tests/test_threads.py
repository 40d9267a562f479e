"""Work beside the loop."""

import asyncio
import threading
import time
from typing import NoReturn

import pytest
from blockbuster import blockbuster_ctx

from exporter.threads import in_thread


async def test_it_returns_and_raises_what_the_work_does() -> None:
    def fail() -> NoReturn:
        raise LookupError("a fault")

    with blockbuster_ctx():
        assert await in_thread(threading.get_ident) != threading.get_ident()
        with pytest.raises(LookupError, match="a fault"):
            await in_thread(fail)


async def test_who_waits_can_be_cancelled() -> None:
    goes_on, ended = threading.Event(), threading.Event()

    def work() -> None:
        goes_on.wait()
        ended.set()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await in_thread(work)
    goes_on.set()
    await in_thread(ended.wait)


async def test_an_idle_thread_is_used_again() -> None:
    first, second = [await in_thread(threading.get_ident) for _ in range(2)]
    assert first == second


async def test_the_thread_of_a_caller_that_is_cancelled_at_once_is_used_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("exporter.threads._idle", [])
    before = threading.active_count()
    for _ in range(20):
        call = asyncio.create_task(in_thread(time.monotonic))
        await asyncio.sleep(0)
        call.cancel()
        await in_thread(time.monotonic)
    assert threading.active_count() < before + 10


def test_a_loop_does_not_wait_for_work_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.threads._idle", [])
    goes_on = threading.Event()

    async def leave() -> threading.Thread:
        before = set(threading.enumerate())
        waiting = asyncio.create_task(in_thread(goes_on.wait))
        await asyncio.sleep(0)
        (thread,) = set(threading.enumerate()) - before
        waiting.cancel()
        return thread

    thread = asyncio.run(leave())
    assert thread.is_alive()
    assert thread.daemon
    goes_on.set()
