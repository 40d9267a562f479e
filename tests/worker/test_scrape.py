"""The scraper over an engine that reads when the test lets it."""

import asyncio
import gzip
import queue
import threading
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from blockbuster import blockbuster_ctx
from prometheus_client.core import GaugeMetricFamily

from exporter.errors import ScrapeError
from exporter.exposition.negotiation import Encoding, Escaping, Representation
from exporter.model import Family, FamilyValues, Format, Snapshot
from exporter.multiproc.engine import Engine, Progress
from exporter.multiproc.fileset import FileSet, every_file
from exporter.multiproc.liveness import Liveness
from exporter.web.listen import open_sockets
from exporter.web.server import Server
from exporter.worker.app import make_app
from exporter.worker.reads import Then
from exporter.worker.scrape import Scraper
from exporter.worker.watch import Watcher
from exporter.worker.worker import Worker
from tests.support.compare import snapshot_of
from tests.support.files import counter, write
from tests.support.waiting import DEADLINE, eventually
from tests.web.serving import FakeViews

TEXT = Representation(Format.TEXT_0_0_4, Escaping.UNDERSCORES, Encoding.IDENTITY)
TEXT_GZIP = Representation(Format.TEXT_0_0_4, Escaping.UNDERSCORES, Encoding.GZIP)
OPENMETRICS = Representation(Format.OPENMETRICS_1_0_0, Escaping.UNDERSCORES, Encoding.IDENTITY)
OPENMETRICS_GZIP = Representation(Format.OPENMETRICS_1_0_0, Escaping.UNDERSCORES, Encoding.GZIP)
TEXT_UTF_8 = Representation(Format.TEXT_1_0_0, Escaping.ALLOW_UTF_8, Encoding.IDENTITY)
OFFERS = (TEXT, TEXT_GZIP, OPENMETRICS, OPENMETRICS_GZIP, TEXT_UTF_8)


class GatedEngine(Engine):
    """The engine over a counter `x:reads` of the reads that have begun; each ends when the test says so."""

    def __init__(self, directory: Path) -> None:
        super().__init__(self._look)
        self.files = FileSet(str(directory))
        self.progress_told: Progress | None = None
        self.reads = 0
        self._file = directory / "counter_1.db"
        self._began: asyncio.Queue[int] = asyncio.Queue()
        self._outcomes: queue.Queue[Exception | None] = queue.Queue()
        self._loop = asyncio.get_running_loop()

    @property
    def progress(self) -> Progress | None:
        return self.progress_told

    def update(self) -> None:
        self.reads += 1
        self._loop.call_soon_threadsafe(self._began.put_nowait, self.reads)
        outcome = self._outcomes.get(timeout=DEADLINE)
        if outcome:
            raise outcome
        write(self._file, {counter("x:reads"): self.reads})
        super().update()

    def own_metrics(self) -> Snapshot:
        return snapshot_of([GaugeMetricFamily("own", "Reads.", self.reads)], [("worker_addr", "w")])

    def _look(self) -> FileSet:
        self.files = every_file(self.files)
        return self.files

    async def began(self) -> int:
        """Wait for the next read to begin; return its number."""
        async with asyncio.timeout(DEADLINE):
            return await self._began.get()

    def end(self, outcome: Exception | None = None) -> None:
        """Let one read end."""
        self._outcomes.put(outcome)


class Scrapes:
    """A scraper, its engine, and the scrapes that a test has started."""

    def __init__(self, directory: Path) -> None:
        self.engine = GatedEngine(directory)
        self.observed: list[Mapping[str, float]] = []
        watcher = Watcher(str(directory), Liveness.OFF, quiet=True)
        self.worker = Worker(watcher, lambda _: self.engine, quiet=True)
        self.scraper = Scraper(lambda: [self.worker], self.engine.own_metrics, self.observed.append)

    async def start(self, *representations: Representation) -> "list[asyncio.Task[bytes]]":
        """Start scrapes together, and return once they have asked, and the worker been asked if no answer is due."""
        started = [asyncio.create_task(self.scraper.scrape(wanted, DEADLINE)) for wanted in representations]
        for _ in range(2):
            await asyncio.sleep(0)
        return started


@pytest.fixture(name="it")
async def _it(tmp_path: Path) -> AsyncIterator[Scrapes]:
    it = Scrapes(tmp_path)
    yield it
    for _ in range(10):
        it.engine.end()  # whatever still reads


def reads(body: bytes) -> int:
    """Return the read that a body in text format is of."""
    (line,) = (line for line in body.decode().splitlines() if line.startswith("x:reads_total "))
    return int(float(line.split()[-1]))


# --- Sharing ---


async def test_a_scrape_takes_no_read_that_began_before_it(it: Scrapes) -> None:
    (first,) = await it.start(TEXT)
    assert await it.engine.began() == 1
    second, third = await it.start(TEXT, TEXT)
    it.engine.end()
    assert reads(await first) == 1
    assert await it.engine.began() == 2
    assert not second.done()
    it.engine.end()
    assert (reads(await second), reads(await third)) == (2, 2)
    assert it.engine.reads == 2


async def test_scrapes_that_ask_together_share_a_read_whatever_they_are_offered(it: Scrapes) -> None:
    started = await it.start(*OFFERS, *OFFERS)
    it.engine.end()
    bodies = await asyncio.gather(*started)
    assert it.engine.reads == 1
    text, gzipped, openmetrics, openmetrics_gzipped, utf_8, text_again, *_ = bodies
    assert text is text_again, "one body for equal representations"
    assert gzip.decompress(gzipped) == text == utf_8
    assert gzip.decompress(openmetrics_gzipped) == openmetrics
    assert openmetrics.endswith(b"# EOF\n")
    assert reads(text) == reads(openmetrics) == 1


async def test_a_refresh_reads_and_is_joined_by_nobody_who_comes_later(it: Scrapes) -> None:
    it.worker.ask()
    assert await it.engine.began() == 1
    (scrape,) = await it.start(TEXT)
    it.worker.ask()
    it.engine.end()
    assert await it.engine.began() == 2
    it.engine.end()
    assert reads(await scrape) == 2
    assert it.engine.reads == 2


async def test_own_metrics_are_told_of_the_read_they_are_served_with(it: Scrapes) -> None:
    for number in (1, 2):
        (scrape,) = await it.start(TEXT)
        it.engine.end()
        assert f'own{{worker_addr="w"}} {number}.0\n' in (await scrape).decode()


# --- Failing, hanging, leaving ---


async def test_a_failing_engine_answers_all_who_wait_and_the_next_scrape_works(it: Scrapes) -> None:
    first, second = await it.start(TEXT, OPENMETRICS)
    it.engine.end(LookupError("a fault"))
    for scrape in (first, second):
        with pytest.raises(LookupError, match="a fault"):
            await scrape
    (scrape,) = await it.start(TEXT)
    it.engine.end()
    assert reads(await scrape) == 2


async def test_those_who_wait_for_the_next_read_do_not_get_the_failure_of_this_one(it: Scrapes) -> None:
    (first,) = await it.start(TEXT)
    await it.engine.began()
    (second,) = await it.start(TEXT)
    it.engine.end(LookupError("a fault"))
    it.engine.end()
    assert reads(await second) == 2
    assert isinstance(first.exception(), LookupError)


async def test_a_failing_refresh_is_nobodys_failure(it: Scrapes) -> None:
    failures: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: failures.append(context))
    it.worker.ask()
    it.engine.end(LookupError("a fault"))
    await it.engine.began()
    (scrape,) = await it.start(TEXT)
    it.engine.end()
    assert reads(await scrape) == 2
    assert failures == []


async def test_one_who_leaves_harms_nobody(it: Scrapes) -> None:
    leaving, staying = await it.start(TEXT, TEXT)
    await it.engine.began()
    leaving.cancel()
    it.engine.end()
    assert reads(await staying) == 1
    assert leaving.cancelled()


async def test_when_all_leave_the_next_scrape_is_answered(it: Scrapes) -> None:
    for leaving in await it.start(TEXT, TEXT):
        leaving.cancel()
    await it.engine.began()
    (staying,) = await it.start(TEXT)
    it.engine.end()
    it.engine.end()
    assert reads(await staying) == it.engine.reads == 2


async def test_a_hanging_engine_blocks_nobody_but_those_who_wait_for_it(it: Scrapes) -> None:
    with blockbuster_ctx():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await it.scraper.scrape(TEXT, 0.05)
        (scrape,) = await it.start(TEXT)
        it.engine.end()
        it.engine.end()
        assert reads(await scrape) == 2


async def test_reading_happens_in_another_thread(it: Scrapes, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []
    monkeypatch.setattr(it.engine, "update", lambda: threads.append(threading.get_ident()))
    await it.scraper.scrape(TEXT, DEADLINE)
    assert threads
    assert threading.get_ident() not in threads


# --- What a scrape leaves behind ---


async def test_durations_are_those_of_the_last_scrape_by_phase(
    it: Scrapes, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (it.scraper.durations, it.scraper.last_scrape) == ({}, None)
    ticks = iter(range(1000))
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(ticks)))
    monkeypatch.setattr(it.engine, "update", lambda: None)
    it.engine.read_seconds = 0.25
    it.scraper.bodies([TEXT, TEXT_GZIP])
    # A tick for the read, one for combining; then for each representation one for rendering, one for compressing.
    assert it.scraper.durations == {"read": 0.25, "merge": 1.75, "render": 2.0, "compress": 2.0}
    assert it.observed == [it.scraper.durations]
    assert it.scraper.last_scrape is not None


async def test_a_read_that_nobody_asked_for_is_no_scrape(it: Scrapes) -> None:
    it.engine.end()
    assert it.scraper.bodies([]) == {}
    assert (it.scraper.durations, it.scraper.last_scrape, it.observed) == ({}, None, [])


async def test_gzip_is_the_same_body_whether_or_not_it_changed(it: Scrapes) -> None:
    for change in (True, False, True):
        if not change:
            it.engine.reads -= 1
        it.engine.end()
        bodies = it.scraper.bodies(OFFERS)
        assert gzip.decompress(bodies[TEXT_GZIP]) == bodies[TEXT]
        assert gzip.decompress(bodies[OPENMETRICS_GZIP]) == bodies[OPENMETRICS]
        assert bodies[OPENMETRICS].count(b"# EOF\n") == 1
        assert reads(bodies[TEXT]) == it.engine.reads


# --- Several workers in one answer ---


class Part:
    """A part of the answer whose reads end when the test says so; its gauge `reads` counts them."""

    def __init__(self, name: str, *, quick: bool = True, metric_type: str = "gauge") -> None:
        self.name = name
        self.quick = quick
        self.busy_since: float | None = None
        self.seconds = {"read": 0.25, "merge": 0.5}
        self.left_out: list[str] = []
        self.error: Exception | None = None
        self.waiting: list[Then] = []
        self.reads = 0
        self._family = Family("reads", metric_type, "Reads.")
        self.snapshot: Snapshot = ()

    def ask(self, then: Then) -> None:
        self.waiting.append(then)
        if self.quick:
            self.end()

    def withdraw(self, then: Then) -> None:
        self.waiting.remove(then)

    def read(self) -> None:
        self.reads += 1
        name = "reads_total" if self._family.type == "counter" else "reads"
        self.snapshot = [FamilyValues(self._family, [[(name, (("w", self.name),))]], [[float(self.reads)]])]

    def end(self) -> None:
        """Let the read end, in another thread, for all who wait."""
        waiting, self.waiting = self.waiting, []

        def work() -> None:
            self.read()
            for then in waiting:
                then(self.error)

        threading.Thread(target=work).start()

    def leave_out(self, reason: str) -> None:
        self.left_out.append(reason)

    def delay(self) -> str:
        return "" if self.quick else f"{self.name} reads"


def scraper_of(*parts: Part) -> Scraper:
    return Scraper(lambda: parts, list, lambda _: None)


def lines(body: bytes) -> list[str]:
    return [line for line in body.decode().splitlines() if not line.startswith("# HELP")]


async def test_workers_stand_side_by_side_in_one_answer() -> None:
    scraper = scraper_of(Part("1"), Part("2"))
    assert lines(await scraper.scrape(TEXT, DEADLINE)) == [
        "# TYPE reads gauge",
        'reads{w="1"} 1.0',
        'reads{w="2"} 1.0',
    ]
    assert lines(scraper.bodies([TEXT])[TEXT])[1:] == ['reads{w="1"} 2.0', 'reads{w="2"} 2.0']
    assert scraper.durations["read"] == 0.5, "of both together"


async def test_without_workers_there_are_own_metrics(it: Scrapes) -> None:
    scraper = Scraper(list, it.engine.own_metrics, lambda _: None)
    assert lines(await scraper.scrape(TEXT, DEADLINE)) == ["# TYPE own gauge", 'own{worker_addr="w"} 0.0']


async def test_a_worker_that_is_late_is_left_out_and_comes_back() -> None:
    first, late = Part("1"), Part("2", quick=False)
    scraper = scraper_of(first, late)
    with blockbuster_ctx():
        start = time.monotonic()
        body = await scraper.scrape(TEXT, 2.0)
    assert 1.7 < time.monotonic() - start < 2.0, "in time"
    assert lines(body)[1:] == ['reads{w="1"} 1.0']
    assert (first.left_out, late.left_out, late.waiting) == ([], ["late"], [])
    late.quick = True
    assert lines(await scraper.scrape(TEXT, DEADLINE))[1:] == ['reads{w="1"} 2.0', 'reads{w="2"} 1.0']
    assert late.left_out == ["late"]


async def test_a_worker_that_has_been_reading_for_long_is_not_waited_for() -> None:
    first, slow = Part("1"), Part("2", quick=False)
    slow.busy_since = time.monotonic() - 2
    scraper = scraper_of(first, slow)
    async with asyncio.timeout(DEADLINE / 2):
        assert lines(await scraper.scrape(TEXT, DEADLINE))[1:] == ['reads{w="1"} 1.0']
    assert (slow.left_out, slow.waiting) == (["late"], [])
    first.busy_since, first.quick = slow.busy_since, False
    waiting = asyncio.create_task(scraper.scrape(TEXT, DEADLINE))
    await asyncio.to_thread(eventually, lambda: slow.waiting, "all are slow: all are asked")
    first.end()
    slow.end()
    assert len(lines(await waiting)) == 3


async def test_one_that_is_in_a_hurry_is_not_kept_by_those_before_it() -> None:
    first, late = Part("1"), Part("2", quick=False)
    scraper = scraper_of(first, late)
    patient = asyncio.create_task(scraper.scrape(TEXT, DEADLINE))
    await asyncio.to_thread(eventually, lambda: late.waiting, "it waits for the second")
    late.busy_since = time.monotonic() - 2
    async with asyncio.timeout(DEADLINE / 2):
        assert lines(await scraper.scrape(TEXT, 0.2))[1:] == ['reads{w="1"} 2.0']
    assert lines(await patient)[1:] == ['reads{w="1"} 1.0']


async def test_a_worker_that_fails_is_left_out_and_only_if_all_do_the_scrape_fails() -> None:
    first, second = Part("1"), Part("2")
    first.error = ScrapeError("a fault")
    scraper = scraper_of(first, second)
    assert lines(await scraper.scrape(TEXT, DEADLINE))[1:] == ['reads{w="2"} 1.0']
    assert first.left_out == ["failed"]
    second.error = ScrapeError("a fault too")
    with pytest.raises(ScrapeError, match="a fault"):
        await scraper.scrape(TEXT, DEADLINE)


async def test_if_all_are_late_the_scrape_is() -> None:
    scraper = scraper_of(Part("1", quick=False), Part("2", quick=False))
    with pytest.raises(TimeoutError):
        await scraper.scrape(TEXT, 0.05)
    assert scraper.delay() == "1 reads"


async def test_a_family_of_another_type_is_left_out_and_counted() -> None:
    scraper = scraper_of(Part("1"), Part("2", metric_type="counter"))
    assert len(lines(await scraper.scrape(TEXT, DEADLINE))) == 2
    assert scraper.conflicts == 1


async def test_workers_come_and_go_between_answers() -> None:
    parts = [Part("1")]
    scraper = Scraper(lambda: tuple(parts), list, lambda _: None)
    served = []
    for change in (list, lambda: parts.append(Part("2")), lambda: parts.pop(0), parts.clear):
        change()
        served.append(lines(await scraper.scrape(TEXT, DEADLINE))[1:])
    assert served == [
        ['reads{w="1"} 1.0'],
        ['reads{w="1"} 2.0', 'reads{w="2"} 1.0'],
        ['reads{w="2"} 2.0'],
        [],
    ]


# --- Behind the web ---


@asynccontextmanager
async def served(it: Scrapes, codes: "asyncio.Queue[int]") -> AsyncIterator[str]:
    app = make_app(
        it.scraper,
        lambda: pytest.fail("no page was asked for"),
        lambda: pytest.fail("no page was asked for"),
        FakeViews(),
        telemetry_path="/metrics",
        max_requests=40,
        on_response=codes.put_nowait,
    )
    server = Server(app)
    (sock,) = open_sockets(["127.0.0.1"], 0)
    await server.start([sock])
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        await server.stop(grace=0.1)


async def test_texts_are_kept_for_few_formats_and_schemes(it: Scrapes) -> None:
    for escaping in Escaping:
        for format_ in Format:
            (task,) = await it.start(Representation(format_, escaping, Encoding.IDENTITY))
            it.engine.end()
            await task
    assert len(it.scraper._outputs) == 3


async def test_a_scrape_that_takes_longer_than_its_scraper_waits_is_503_in_time(it: Scrapes) -> None:
    codes: asyncio.Queue[int] = asyncio.Queue()
    async with served(it, codes) as url, aiohttp.ClientSession() as client:
        it.engine.progress_told = Progress(2, 3000)
        start = time.monotonic()
        timeout = {"X-Prometheus-Scrape-Timeout-Seconds": "0.3"}
        async with client.get(f"{url}/metrics", headers=timeout) as answer:
            assert answer.status == 503
            assert await answer.text() == (
                "scrape took longer than 0.27 s, the scraper's timeout less a margin: read 2 of 3,000 files so far\n"
            )
        assert 0.2 < time.monotonic() - start < 1
        async with client.get(f"{url}/healthz") as answer:
            assert answer.status == 200
        it.engine.progress_told = None
        it.engine.end()
        it.engine.end()
        async with client.get(f"{url}/metrics") as answer:
            assert answer.status == 200
            assert reads(await answer.read()) == 2
        async with client.get(f"{url}/metrics", headers=timeout) as answer:
            assert await answer.text() == (
                "scrape took longer than 0.27 s, the scraper's timeout less a margin\n"
            ), "the first read has ended"
    assert (codes.get_nowait(), codes.get_nowait(), codes.get_nowait()) == (503, 200, 503)


async def test_a_client_that_hangs_up_leaves_the_scrape_to_the_others(it: Scrapes) -> None:
    codes: asyncio.Queue[int] = asyncio.Queue()
    async with served(it, codes) as url, aiohttp.ClientSession() as client:
        leaving = asyncio.create_task(client.get(f"{url}/metrics"))
        await it.engine.began()
        leaving.cancel()
        assert await codes.get() == 499
        staying = asyncio.create_task(client.get(f"{url}/metrics"))
        it.engine.end()
        it.engine.end()
        async with await staying as answer:
            assert answer.status == 200
