"""Another exposition beside the worker's: whatever it does, the answer without it is not worse."""

import asyncio
import gc
import gzip
import json
import logging
import ssl
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle
from pathlib import Path

import aiohttp
import pytest
from aiohttp import test_utils, web

from exporter.errors import ScrapeError
from exporter.model import Labels, Snapshot
from exporter.options.sources import load
from exporter.options.worker import ServeOptions
from exporter.scraping.client import Answer, TargetFailure, make_session, scrape
from exporter.scraping.reading import BodyReader
from exporter.scraping.snapshots import Snapshots
from exporter.worker.also import MAX_BYTES, Also
from exporter.worker.scrape import LATE
from exporter.worker.serve import WorkerDaemon, make
from exporter.worker.status import AlsoStatus
from tests.support import targets
from tests.support.compare import rendered
from tests.support.expositions import Exposition
from tests.support.targets import Behaviour, Server, answer, serving

LABELS: Labels = (("worker_addr", "grpc://127.0.0.1:8001"),)
LIMIT = 1 << 20
PATIENCE = 0.5


@asynccontextmanager
async def also(behave: Behaviour, reserved: set[str] | None = None) -> AsyncIterator[tuple[Also, Server]]:
    """Serve an exposition, and yield what fetches it."""
    async with make_session(ssl.create_default_context()) as session, serving(behave) as server:
        get = partial(scrape, session, limit=LIMIT)
        yield Also(server.url, get, lambda: LABELS, reserved or set(), patience=PATIENCE), server


async def ask(part: Also) -> BaseException | None:
    """Ask as a scrape does; return the error, None if there is none."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[BaseException | None] = loop.create_future()
    part.ask(lambda error: loop.call_soon_threadsafe(done.set_result, error))
    async with asyncio.timeout(targets.DEADLINE):
        return await done


def told(part: Also) -> AlsoStatus:
    """Return the status without what was left out."""
    return replace(part.status, left_out={})


def snapshot(body: bytes) -> Snapshot:
    return Snapshots().take(BodyReader(keeps_addresses=True).read(body))


def lines(families: Snapshot) -> list[str]:
    text, _ = rendered(families)
    return [line for line in text.decode().splitlines() if not line.startswith("#")]


class Changing:
    """Behaves in one way, then in another."""

    def __init__(self, behave: Behaviour) -> None:
        self.behave = behave

    async def __call__(self, writer: asyncio.StreamWriter) -> None:
        await self.behave(writer)


async def test_the_exposition_gets_the_labels_of_the_worker() -> None:
    body = b'# TYPE served_total counter\nserved_total{worker_addr="own"} 2\nserved_total{a="b"} 3\n'
    async with also(answer(body)) as (part, server):
        assert await ask(part) is None
        assert told(part) == AlsoStatus(server.url, up=True, samples=2)
        assert lines(part.snapshot) == [
            'served_total{exported_worker_addr="own",worker_addr="grpc://127.0.0.1:8001"} 2.0',
            'served_total{a="b",worker_addr="grpc://127.0.0.1:8001"} 3.0',
        ]


async def test_what_the_worker_has_already_is_left_out_and_counted() -> None:
    ours = snapshot(
        b'# TYPE both gauge\nboth{worker_addr="grpc://127.0.0.1:8001"} 1\n# TYPE kind gauge\nkind 1\n'
    )
    body = b'# TYPE both gauge\nboth 7\nboth{a="b"} 8\n# TYPE kind counter\nkind 9\nup 1\nown 1\nbad line\n'
    async with also(answer(body), {"own"}) as (part, _):
        for number in (1, 2):
            assert await ask(part) is None
            assert lines(part.add_to(ours, part.snapshot)) == [
                'both{worker_addr="grpc://127.0.0.1:8001"} 1.0',
                'both{a="b",worker_addr="grpc://127.0.0.1:8001"} 8.0',
                "kind 1.0",
                'up{worker_addr="grpc://127.0.0.1:8001"} 1.0',
            ]
            assert {reason: count for reason, count in part.status.left_out.items() if count} == {
                "broken_family": number,
                "duplicate_series": number,
                "reserved_name": number,
                "type_conflict": number,
            }


FAULTS: dict[str, tuple[Behaviour, str]] = {
    "hanging": (targets.hang, "no whole answer within 0.5 s"),
    "hanging in the body": (targets.hang_in_the_body, "no whole answer within 0.5 s"),
    "slow": (targets.drip, "no whole answer within 0.5 s"),
    "garbage": (answer(b"<html>\n"), "not a text exposition: none of its lines can be read"),
    "HTML": (answer(content_type="text/html"), "the Content-Type is 'text/html'"),
    "not found": (answer(status="404 Not Found"), "answered 404"),
    "huge": (targets.endless, "the body is larger than"),
    "a bomb": (targets.gzipped(targets.bomb(MAX_BYTES + 1)), "the body is larger than"),
    "cut off": (targets.cut_off, "the body is cut off"),
    "no gzip": (targets.gzipped(b"no gzip at all, but a text"), "the body is not valid gzip"),
    "reset": (targets.reset, "the connection was closed before an answer came"),
    "no HTTP": (targets.no_http, ""),
}


@pytest.mark.parametrize(("fault", "problem"), FAULTS.values(), ids=FAULTS)
async def test_a_fault_is_told_and_over_when_it_is_over(
    fault: Behaviour, problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    behave = Changing(answer(b"a 1\n"))
    async with also(behave) as (part, server):
        assert await ask(part) is None
        behave.behave = fault
        for _ in range(2):
            start = time.monotonic()
            error = await ask(part)
            assert time.monotonic() - start < 4 * PATIENCE
            assert str(error) == f"{server.url}: {part.status.problem}"
            assert part.status.up is False
            assert problem in part.status.problem
        behave.behave = answer(gzip.compress(b"a 2\n"), more="Content-Encoding: gzip\r\n")
        assert await ask(part) is None
        assert told(part) == AlsoStatus(server.url, up=True, samples=1)
        assert lines(part.snapshot) == ['a{worker_addr="grpc://127.0.0.1:8001"} 2.0']
    logged = [record.msg for record in caplog.records if record.name == "exporter.worker.also"]
    assert logged == ["exposition of --also left out", "exposition of --also is back"]


async def test_an_exposition_that_nobody_serves_is_down() -> None:
    async with also(answer()) as (part, _):
        pass
    async with make_session(ssl.create_default_context()) as session:
        gone = Also(part.status.url, partial(scrape, session, limit=LIMIT), lambda: LABELS)
        assert await ask(gone) is not None
        assert gone.status.up is False


async def test_an_unexpected_error_costs_the_exposition_only(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(_url: str) -> Answer:
        raise RuntimeError("broken")

    part = Also("http://127.0.0.1:1/metrics", broken, lambda: LABELS)
    assert await ask(part) is not None
    assert part.status.problem == "internal error: RuntimeError"
    assert "unexpected error" in caplog.text


async def test_the_labels_are_those_that_the_worker_has_now() -> None:
    async def get(_url: str) -> Answer:
        return Answer([b"a 1\n"], compressed=False)

    labels = LABELS
    part = Also("http://127.0.0.1:1/metrics", get, lambda: labels)
    assert await ask(part) is None
    labels = (("worker_addr", "grpc://found:8001"),)
    assert await ask(part) is None
    assert lines(part.snapshot) == ['a{worker_addr="grpc://found:8001"} 1.0']


class Held:
    """Holds answers back until they are released, and counts the requests."""

    def __init__(self) -> None:
        self.requests = 0
        self.released = asyncio.Event()

    async def __call__(self, _url: str) -> Answer:
        self.requests += 1
        await self.released.wait()
        return Answer([b"a %d\n" % self.requests], compressed=False)


def held() -> tuple[Also, Held]:
    get = Held()
    return Also("http://127.0.0.1:1/metrics", get, tuple, patience=targets.DEADLINE), get


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(targets.DEADLINE):
        while not condition():  # noqa: ASYNC110 - the part has no event of its own
            await asyncio.sleep(0)


async def test_scrapes_share_fetches_that_begin_after_them() -> None:
    part, get = held()
    first = asyncio.create_task(ask(part))
    await until(lambda: get.requests == 1)
    others: list[Awaitable[object]] = [asyncio.create_task(ask(part)) for _ in range(5)]
    get.released.set()
    await asyncio.gather(first, *others)
    assert get.requests == 2
    assert lines(part.snapshot) == ["a 2.0"]


async def test_who_withdraws_before_a_fetch_is_not_called() -> None:
    part, get = held()
    calls: list[object] = []
    running = asyncio.create_task(ask(part))
    await until(lambda: get.requests == 1)
    part.ask(calls.append)
    part.withdraw(calls.append)
    part.withdraw(calls.append)
    get.released.set()
    await running
    await until(lambda: part.busy_since is None)
    assert calls == []
    assert get.requests == 1


async def test_an_answer_that_did_not_wait_says_so() -> None:
    part, get = held()
    asking = asyncio.create_task(ask(part))
    await until(lambda: get.requests == 1)
    assert part.status.up is None
    assert part.busy_since is not None
    part.leave_out(LATE)
    assert told(part) == AlsoStatus("http://127.0.0.1:1/metrics", up=False, problem="no whole answer in time")
    get.released.set()
    await asking
    assert part.status.up
    part.leave_out("failed")
    assert part.status.up


async def test_thousands_of_rounds_with_faults_leave_nothing_behind() -> None:
    get = _Mixed()
    part, ours = Also("", get, lambda: LABELS, quiet=True), snapshot(b"a 1\nb 1\n")

    async def rounds(number: int) -> int:
        """Play rounds, and return the bytes that the exporter's code has allocated and not freed."""
        for _ in range(number):
            await ask(part)
            part.add_to(ours, part.snapshot)
        gc.collect()
        only_exporter = tracemalloc.Filter(inclusive=True, filename_pattern="*/exporter/*")
        return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces([only_exporter]).traces)

    tracemalloc.start()
    try:
        before = await rounds(1500)  # fills the cache of labels
        assert await rounds(2500) - before < 50_000
    finally:
        tracemalloc.stop()
    assert get.count == 4000


class _Mixed:
    """Answers well, with ever new series, garbage, and not at all, in turn."""

    def __init__(self) -> None:
        self.count = 0
        new = b"".join(b'a{x="%%d %d"} 1\n' % number for number in range(20))
        self._bodies = cycle([new + b"b 2\n", b"broken %d x\n", b"", b"a 1\nb 3\n# %d\n"])

    async def __call__(self, _url: str) -> Answer:
        self.count += 1
        body = next(self._bodies)
        if not body:
            raise TargetFailure("connect", "refused")
        return Answer([body.replace(b"%d", b"%d" % self.count)], compressed=False)


# --- In a daemon, beside a real aiohttp server ---


class Neighbour:
    """A program of the worker's host, whose exposition a test changes."""

    def __init__(self) -> None:
        self.body = b"# TYPE served counter\nserved_total 1\n"
        self.answers = asyncio.Event()
        """Whether it answers at all."""
        self.answers.set()
        self.scrapes = 0

    async def handle(self, _: web.Request) -> web.Response:
        self.scrapes += 1
        await self.answers.wait()
        return web.Response(body=self.body, headers={"Content-Type": targets.TEXT})


@dataclass
class Beside:
    """A worker's daemon with the neighbour's exposition in its answers."""

    neighbour: Neighbour
    url: str
    daemon: WorkerDaemon
    session: aiohttp.ClientSession
    base: str

    async def get(self, path: str, within: str = "5") -> tuple[int, str]:
        headers = {"X-Prometheus-Scrape-Timeout-Seconds": within}
        async with self.session.get(self.base + path, headers=headers) as response:
            return response.status, await response.text()

    async def scrape(self, within: str = "5") -> Exposition:
        status, text = await self.get("/metrics", within)
        assert status == 200, text
        it = Exposition(text)
        it.check()
        return it


@pytest.fixture
async def beside(recorded: dict[str, Path]) -> AsyncIterator[Beside]:
    neighbour = Neighbour()
    program = web.Application()
    program.router.add_get("/metrics", neighbour.handle)
    async with test_utils.TestServer(program) as server:
        options = load(
            ServeOptions,
            {
                "grpc_port": "8001",
                "multiproc_dir": str(recorded["tp1"]),
                "liveness": "off",
                "also": [str(server.make_url("/metrics"))],
            },
        )
        async with make(options) as daemon, aiohttp.ClientSession() as session:
            await daemon.look()
            async with test_utils.TestServer(daemon.app) as ours:
                yield Beside(neighbour, options.also[0], daemon, session, str(ours.make_url("")))
            neighbour.answers.set()


async def test_both_are_in_one_answer_under_the_labels_of_the_worker(beside: Beside) -> None:
    for count in (1, 2):
        beside.neighbour.body = f"# TYPE served counter\nserved_total {count}\n".encode()
        it = await beside.scrape()
        assert it.value("served_total") == count
        assert it.labels("served_total") == [{"worker_addr": "grpc://127.0.0.1:8001"}]
        assert it.value("smg_exporter_also_up", url=beside.url) == 1
        assert it.value("smg_exporter_up") == 1
        assert it.labels("sglang:num_running_reqs")
    assert beside.neighbour.scrapes == 2


async def test_an_exposition_that_hangs_does_not_cost_ours(beside: Beside) -> None:
    whole = await beside.scrape()
    beside.neighbour.answers.clear()
    it = await beside.scrape("1")  # 503 if it were too late for a scraper that waits a second
    assert it.value("smg_exporter_also_up", url=beside.url) == 0
    assert not it.labels("served_total")
    assert it.labels("sglang:num_running_reqs") == whole.labels("sglang:num_running_reqs")
    both = await asyncio.gather(beside.scrape("1"), beside.scrape("10"))
    assert [one.value("smg_exporter_also_up", url=beside.url) for one in both] == [0, 0]
    beside.neighbour.answers.set()
    async with asyncio.timeout(targets.DEADLINE):
        while not (await beside.scrape()).value("smg_exporter_also_up", url=beside.url):
            pass
    assert (await beside.scrape()).value("served_total") == 1


async def test_ours_wins_where_both_have_a_series_or_a_name(beside: Beside) -> None:
    before = await beside.scrape()
    beside.neighbour.body = (
        b"# TYPE sglang:num_running_reqs counter\nsglang:num_running_reqs 1\n"
        b"# TYPE smg_exporter_up gauge\nsmg_exporter_up 7\n# TYPE process_open_fds gauge\nprocess_open_fds 7\n"
    )
    it = await beside.scrape()
    assert it.value("smg_exporter_up") == 1
    assert it.labels("sglang:num_running_reqs") == before.labels("sglang:num_running_reqs")
    for reason, count in {"type_conflict": 1, "reserved_name": 2, "duplicate_series": 0}.items():
        assert it.value("smg_exporter_also_left_out_total", url=beside.url, reason=reason) == count


async def test_the_status_says_whether_it_answers(beside: Beside) -> None:
    _, text = await beside.get("/status.json")
    assert [(one["url"], one["up"]) for one in json.loads(text)["also"]] == [(beside.url, None)]
    await beside.scrape()
    _, page = await beside.get("/")
    assert "1 samples" in page
    beside.neighbour.body = b"<html>"
    await beside.scrape()
    _, text = await beside.get("/status.json")
    (one,) = json.loads(text)["also"]
    assert one["up"] is False
    assert one["problem"] == "not a text exposition: none of its lines can be read"
    _, page = await beside.get("/")
    assert beside.url in page
    assert one["problem"] in page


async def test_without_a_worker_there_is_no_answer_of_the_other_alone(beside: Beside) -> None:
    scraper = beside.daemon.parts.scraper

    def fail(*_: object) -> None:
        raise ScrapeError("no files")

    (worker,) = scraper._parts()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker.engine, "update", fail)  # type: ignore[attr-defined]
        status, text = await beside.get("/metrics")
    assert (status, text) == (503, "no files\n")
    assert (await beside.scrape()).value("served_total") == 1


async def test_the_engine_view_knows_what_the_other_exposition_tells(beside: Beside) -> None:
    beside.neighbour.body = (
        b'# TYPE smg_servicer_requests_total counter\nsmg_servicer_requests_total{finish_reason="abort"} 1\n'
    )
    async with asyncio.timeout(targets.DEADLINE):
        while True:
            _, text = await beside.get("/engine.json")
            (worker,) = json.loads(text)["workers"]
            if worker["requests"]["aborted_per_second"] is not None:
                break
    assert worker["worker_addr"] == "grpc://127.0.0.1:8001"
    assert worker["engine"] == "sglang"
    assert beside.neighbour.scrapes > 0
