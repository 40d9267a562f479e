"""Reading expositions again and again."""

import asyncio
import gc
import time
import tracemalloc
from itertools import cycle

import pytest

from exporter.scraping.client import Answer, TargetFailure
from exporter.top.poll import Source, View
from tests.top.engines import sglang


class Engine:
    """Answers with what a test says, a second later each time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_700_000_000.0
        self.said: str | Exception | None = None
        """What it answers; None: what an engine at work does."""
        self.labels = ""
        self.asked: list[str] = []
        monkeypatch.setattr(time, "time", lambda: self.now)

    async def __call__(self, url: str) -> Answer:
        self.asked.append(url)
        if isinstance(self.said, Exception):
            raise self.said
        second = int(self.now - 1_700_000_000)
        body = sglang(second, labels=self.labels) if self.said is None else self.said
        return Answer([body.encode()], compressed=False)

    async def read(self, source: Source, times: int = 1, *, apart: float = 1.0) -> list[View]:
        for _ in range(times):
            self.now += apart
            await source.read()
        return list(source.views)


@pytest.fixture(name="engine")
def _engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    return Engine(monkeypatch)


def source(engine: Engine, url: str = "http://h:1/metrics", patience: float = 5.0) -> Source:
    return Source(url, "http://h:1", engine, window=5.0, patience=patience)


async def test_two_reads_make_rates(engine: Engine) -> None:
    (view,) = await engine.read(source(engine), 3)
    assert view["worker_addr"] == "http://h:1"
    assert view["problem"] == ""
    assert view["engine"] == "sglang"
    assert view["model"] == "meta/llama"
    assert view["up"] is True
    assert view["requests"] == {
        "running": 3,
        "queued": 1,
        "per_second": 10,
        "aborted_per_second": None,
    }
    assert view["tokens"]["generated_per_second"] == 1000
    assert view["tokens"]["cache_hit_ratio"] == 0.25
    assert view["history"]["times"] == [1_700_000_001, 1_700_000_003]


async def test_the_name_that_the_exposition_tells_counts(engine: Engine) -> None:
    engine.said = TargetFailure("connect", "cannot connect")
    it = source(engine)
    (view,) = await engine.read(it)
    assert (view["worker_addr"], view["up"], view["problem"]) == ("http://h:1", False, "cannot connect")
    engine.said, engine.labels = None, 'worker_addr="grpc://h:2"'
    assert [view["worker_addr"] for view in await engine.read(it, 2)] == ["grpc://h:2"]


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (TargetFailure("status", "answered 503"), "answered 503"),
        ("<html>", "not a text exposition: none of its lines can be read"),
        ("node_load1 1\n", "none of its metrics are of an engine that is known here"),
        (RuntimeError("odd"), "internal error: RuntimeError: odd"),
    ],
)
async def test_a_failed_read_is_told_and_over_with_the_next(
    engine: Engine, said: str | Exception, problem: str
) -> None:
    it = source(engine)
    await engine.read(it, 2)
    engine.said = said
    (view,) = await engine.read(it)
    assert (view["up"], view["problem"], view["requests"]["running"]) == (False, problem, None)
    engine.said = None
    (view,) = await engine.read(it)
    assert (view["up"], view["problem"], view["requests"]["running"]) == (True, "", 3)


async def test_one_that_does_not_answer_is_not_waited_for() -> None:
    async def hang(_url: str) -> Answer:
        await asyncio.Event().wait()
        raise AssertionError

    it = Source("http://h/metrics", "h", hang, window=5.0, patience=0.05)
    await it.read()
    assert it.views[0]["problem"] == "no whole answer within 0.05 s"


async def test_a_worker_that_is_gone_is_told_for_a_minute(engine: Engine) -> None:
    it = source(engine)
    engine.said = sglang(1, labels='worker_addr="a"') + sglang(1, labels='worker_addr="b"')
    assert len(await engine.read(it, 2)) == 2
    engine.said = sglang(1, labels='worker_addr="a"')
    first, second = await engine.read(it)
    assert (first["up"], second["up"]) == (True, False)
    assert second["problem"] == "no longer in the exposition"
    assert len(await engine.read(it, apart=59.0)) == 2
    assert len(await engine.read(it, apart=2.0)) == 1


async def test_of_a_fleet_it_reads_the_workers_metrics(engine: Engine) -> None:
    it = source(engine)
    engine.said = 'smg_exporter_targets 1\nsmg_exporter_target_up{worker_addr="a"} 1\n'
    await engine.read(it)
    engine.said = None
    await engine.read(it)
    assert engine.asked == ["http://h:1/metrics", *2 * ["http://h:1/engine_metrics"]]


async def test_it_keeps_reading() -> None:
    reads = asyncio.Semaphore(0)

    async def answer(_url: str) -> Answer:
        reads.release()
        return Answer([sglang(1).encode()], compressed=False)

    task = asyncio.create_task(Source("http://h/metrics", "h", answer, window=5.0).keep_reading(0.01))
    async with asyncio.timeout(10):
        for _ in range(3):
            await reads.acquire()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_reads_with_faults_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    faults = cycle(["", "refused", "broken %d x\n", 'sglang:token_usage{x="%d"} 1\n'])
    reads = 0

    async def answer(_url: str) -> Answer:
        nonlocal reads
        reads += 1
        fault = next(faults)
        if fault == "refused":
            raise TargetFailure("connect", fault)
        body = fault.replace("%d", str(reads % 60)) or sglang(reads, labels='worker_addr="w"')
        return Answer([body.encode()], compressed=False)

    # The clock is fast, so that the history is soon as long as it gets.
    monkeypatch.setattr(time, "time", lambda: 1_700_000_000 + 20.0 * reads)
    it = Source("http://h/metrics", "h", answer, window=5.0)

    async def rounds(number: int) -> int:
        for _ in range(number):
            await it.read()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = await rounds(200)
        assert await rounds(600) - before < 20_000
    finally:
        tracemalloc.stop()
    assert reads == 800
