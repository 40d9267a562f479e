"""Engine views: which reads are worked up, when workers are read for who looks, and what is known of whom."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from exporter.engine.tracker import BUDGET
from exporter.model import Snapshot
from exporter.service import engine_views
from exporter.service.engine_views import TOTAL_BUDGET, EngineViews, Read
from tests.support.snapshots import Snapshots, counter, gauge

DEADLINE = 10.0


@dataclass
class Workers:
    """Workers that run as many requests as they have been read, and are read when asked."""

    names: list[str] = field(default_factory=lambda: ["a"])
    read: int = 0
    """How often all have been read, for whatever purpose."""
    asked: int = 0
    """How often the views had them read."""
    worked_up: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    failing: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.gate.set()
        self._snapshots = Snapshots()
        self.views = EngineViews(self._read, self._reads)

    async def _read(self) -> None:
        self.asked += 1
        await self.gate.wait()
        self.read += 1

    def scrape(self) -> None:
        """Have all read for another purpose."""
        self.read += 1
        self.views.offer()

    def _reads(self) -> dict[str, Read]:
        return {
            name: Read(
                {"worker_addr": f"grpc://{name}:1"},
                None if name in self.failing else self._snapshot(),
                up=True,
            )
            for name in self.names
        }

    def _snapshot(self) -> Callable[[], Snapshot]:
        running = gauge("sglang:num_running_reqs", {'tp_rank="0"': self.read})
        text = running + counter("sglang:num_requests", {"": 10 * self.read})

        def make() -> Snapshot:
            self.worked_up += 1
            return self._snapshots.of(text)

        return make

    async def look(self, worker: str = "", since: float = 0, *, brief: bool = False) -> Any:
        async with asyncio.timeout(DEADLINE):
            return await self.views.look(dict, worker, since, brief=brief)

    async def running(self) -> list[float | None]:
        return [worker["requests"]["running"] for worker in (await self.look())["workers"]]


async def eventually(look: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not look():  # noqa: ASYNC110 - until the loop has come to it
            await asyncio.sleep(0)


async def passing(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let so much time pass, as the loop's clock has it."""
    loop = asyncio.get_running_loop()
    now = loop.time
    monkeypatch.setattr(loop, "time", lambda: now() + seconds)
    await asyncio.sleep(0)


@pytest.fixture(name="workers")
async def _workers() -> Workers:
    return Workers()


async def test_who_looks_has_workers_read_and_sees_them(workers: Workers) -> None:
    view = await workers.look()
    assert view["window_seconds"] == 60
    (worker,) = view["workers"]
    assert (worker["worker_addr"], worker["requests"]["running"], worker["up"]) == ("grpc://a:1", 1, True)
    assert worker["history"]["running"] == [1]
    assert [rank["tp_rank"] for rank in worker["ranks"]] == ["0"]


async def test_a_fresh_read_is_enough_for_all_who_look(workers: Workers) -> None:
    workers.gate.clear()
    looks = [asyncio.create_task(workers.running()) for _ in range(5)]
    await asyncio.sleep(0)
    workers.gate.set()
    assert await asyncio.gather(*looks) == [[1]] * 5
    assert await workers.running() == [1]
    assert workers.asked == 1


async def test_a_read_that_is_no_longer_fresh_is_followed_by_another(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await workers.running() == [1]
    await passing(monkeypatch, 1.1)
    assert await workers.running() == [2]
    assert workers.asked == 2


async def test_a_scrape_that_comes_anyway_spares_who_looks_a_read(workers: Workers) -> None:
    workers.scrape()
    assert await workers.running() == [1]
    assert workers.asked == 0


@pytest.mark.parametrize(("somebody_looks", "seconds"), [(True, 2.1), (False, 30.1)])
async def test_scrapes_are_worked_up_though_nobody_looks_and_soon_ones_are_passed_over(
    workers: Workers,
    monkeypatch: pytest.MonkeyPatch,
    somebody_looks: bool,  # noqa: FBT001 - a parameter of the test
    seconds: float,
) -> None:
    monkeypatch.setattr(engine_views, "_DELAY", 0)
    if somebody_looks:
        monkeypatch.setattr(workers.views, "_looked", asyncio.get_running_loop().time())
    for _ in range(10):
        workers.scrape()
        await asyncio.sleep(0.001)
    for wait in (seconds - 0.2, 0.2):
        await passing(monkeypatch, wait)
        workers.scrape()
    history = (await workers.look())["workers"][0]["history"]
    assert history["running"] == [1, 12]
    assert (workers.worked_up, workers.asked) == (2, 0)


async def test_a_long_read_does_not_keep_who_looks_from_what_is_known(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await workers.running() == [1]
    await passing(monkeypatch, 60)
    monkeypatch.setattr(engine_views, "_PATIENCE", 0.01)
    workers.gate.clear()
    assert await workers.running() == [1]
    assert await workers.running() == [1]
    assert workers.asked == 2
    workers.gate.set()


async def test_where_reads_take_long_they_are_further_apart(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers.gate.clear()
    look = asyncio.create_task(workers.running())
    await eventually(lambda: workers.asked == 1)
    await passing(monkeypatch, 0.5)  # which the read takes
    workers.gate.set()
    await look
    await passing(monkeypatch, 4.0)
    await workers.running()
    assert workers.asked == 1
    await passing(monkeypatch, 2.0)
    await workers.running()
    assert workers.asked == 2


async def test_one_worker_can_be_chosen_and_the_history_since_a_time(workers: Workers) -> None:
    workers.names = ["a", "b"]
    view = await workers.look("grpc://b:1")
    assert [worker["worker_addr"] for worker in view["workers"]] == ["grpc://b:1"]
    assert await workers.look("grpc://c:1") is None
    (worker,) = (await workers.look("grpc://b:1", since=view["workers"][0]["time"]))["workers"]
    assert worker["history"]["times"] == []
    (worker,) = (await workers.look("grpc://b:1", brief=True))["workers"]
    assert worker["ranks"] == []


async def test_workers_with_the_same_labels_are_told_apart(workers: Workers) -> None:
    same = Read({"worker_addr": "grpc://a:1"}, None, up=None)
    other = Read({"directory": "/run/c"}, None, up=None)
    workers.views._reads = lambda: {"/run/a": same, "/run/b": same, "/run/c": other}
    view = await workers.look()
    assert [worker["name"] for worker in view["workers"]] == [
        "grpc://a:1 /run/a",
        "grpc://a:1 /run/b",
        "/run/c",
    ]
    (worker,) = (await workers.look("grpc://a:1 /run/b"))["workers"]
    assert worker["worker_addr"] == "grpc://a:1"


async def test_what_another_exposition_says_of_a_worker_belongs_to_it(workers: Workers) -> None:
    more = Snapshots().of(gauge("sglang:num_queue_reqs", {"": 7}))
    reads = workers._reads
    workers.views._reads = lambda: {name: read.with_more([more]) for name, read in reads().items()}
    (worker,) = (await workers.look())["workers"]
    assert (worker["requests"]["running"], worker["requests"]["queued"]) == (1, 7)


async def test_a_worker_that_cannot_be_read_is_unknown_and_costs_the_others_nothing(workers: Workers) -> None:
    workers.names = ["a", "b"]
    workers.failing = {"a"}
    assert await workers.running() == [None, 1]


async def test_a_worker_that_goes_is_forgotten(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    workers.names = ["a", "b"]
    await workers.running()
    workers.names = ["b"]
    await passing(monkeypatch, 1.1)
    assert await workers.running() == [2]


async def test_an_error_of_one_worker_is_logged_and_costs_the_others_nothing(
    workers: Workers, caplog: pytest.LogCaptureFixture
) -> None:
    reads = workers._reads

    def fail() -> Snapshot:
        raise ArithmeticError("no such number")

    def broken() -> dict[str, Read]:
        return {**reads(), "b": Read({"worker_addr": "grpc://b:1"}, fail, up=True)}

    workers.views._reads = broken
    with caplog.at_level(logging.ERROR):
        assert await workers.running() == [1, None]
    assert "unexpected error in the engine view" in caplog.text


@pytest.mark.parametrize(
    ("count", "budget"),
    [(1, BUDGET), (16, BUDGET), (17, TOTAL_BUDGET // 32), (500, TOTAL_BUDGET // 512)],
)
async def test_workers_share_a_budget(workers: Workers, count: int, budget: int) -> None:
    workers.names = [str(number) for number in range(count)]
    assert len(await workers.running()) == count
    assert workers.views._budget == budget
    assert budget * count <= TOTAL_BUDGET
