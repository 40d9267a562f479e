"""The fan-out over real targets: what is served when some of them fail, and how long it takes."""

import asyncio
import gzip
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import pytest

from exporter.errors import ScrapeError
from exporter.exposition.negotiation import Encoding, Escaping, Representation
from exporter.fleet.fanout import Fanout, Outcome
from exporter.fleet.targets import Target, from_option
from exporter.fleet.telemetry import target_metrics
from exporter.model import Format
from exporter.scraping.client import Answer, make_session, scrape
from exporter.scraping.reading import BodyReader, Reading
from tests.support import targets
from tests.support.compare import of_openmetrics, types
from tests.support.expositions import Exposition
from tests.support.targets import Behaviour, Server, answer, serving

TEXT = Representation(Format.TEXT_0_0_4, Escaping.UNDERSCORES, Encoding.IDENTITY)
GZIPPED = Representation(Format.TEXT_0_0_4, Escaping.UNDERSCORES, Encoding.GZIP)
OPENMETRICS = Representation(Format.OPENMETRICS_1_0_0, Escaping.UNDERSCORES, Encoding.IDENTITY)
LIMIT = 1 << 20


@asynccontextmanager
async def fan_out(
    workers: Iterable[str],
    target_timeout: float = 10.0,
    concurrency: int = 32,
    observe: Callable[[Mapping[str, float]], None] = lambda _: None,
) -> AsyncIterator[Fanout]:
    async with make_session(ssl.create_default_context()) as session:
        known = [from_option(worker) for worker in workers]
        made = Fanout(
            lambda: known,
            partial(scrape, session, limit=LIMIT),
            target_metrics,
            labels={},
            target_timeout=target_timeout,
            max_target_bytes=LIMIT,
            no_target=lambda: "no target: none given",
            observe=observe,
            concurrency=concurrency,
        )
        try:
            yield made
        finally:
            made.close()


@asynccontextmanager
async def servers(behaviours: Sequence[Behaviour]) -> AsyncIterator[list[Server]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(serving(behave)) for behave in behaviours]


@asynccontextmanager
async def fleet_of(
    behaviours: Sequence[Behaviour], target_timeout: float = 10.0, concurrency: int = 32
) -> AsyncIterator[tuple[list[Server], Fanout]]:
    async with (
        servers(behaviours) as running,
        fan_out([server.worker for server in running], target_timeout, concurrency) as fanout,
    ):
        yield running, fanout


async def ask(fanout: Fanout, wanted: Representation = TEXT, timeout: float = 10.0) -> Exposition:  # noqa: ASYNC109
    async with asyncio.timeout(timeout):
        body = b"".join(await fanout.scrape(wanted, timeout))
    exposition = Exposition(body.decode())
    exposition.check()
    return exposition


BAD: dict[str, tuple[Behaviour, str]] = {
    "slow": (targets.hang, "timeout"),
    "dripping": (targets.drip, "timeout"),
    "endless": (targets.endless, "too_large"),
    "gzip bomb": (targets.gzipped(targets.bomb(LIMIT * 50)), "too_large"),
    "gzip cut off": (targets.gzipped(gzip.compress(targets.BODY)[:-3]), "truncated"),
    "HTML": (answer(b"<html></html>", content_type="text/html"), "content_type"),
    "HTML that is said to be text": (answer(b"<!DOCTYPE html>\n<html></html>\n"), "exposition"),
    "404": (answer(status="404 Not Found"), "status"),
    "reset": (targets.reset, "connection"),
    "invalid UTF-8 and nothing else": (answer(b'a{x="\xff"} 1\n'), "exposition"),
}


async def test_every_bad_target_costs_itself_and_no_other() -> None:
    behaviours = [answer(), *(behave for behave, _ in BAD.values()), answer()]
    async with servers(behaviours) as running:
        workers = [server.worker for server in running]
        async with fan_out(workers, target_timeout=0.5) as fanout:
            exposition = await ask(fanout)
            assert [labels["worker_addr"] for labels in exposition.labels("up_to")] == [
                workers[0],
                workers[-1],
            ]
            for worker, (_, reason) in zip(workers[1:-1], BAD.values(), strict=True):
                assert fanout.outcomes[f"{worker}/metrics"].reason == reason
                assert exposition.value("smg_exporter_target_up", worker_addr=worker) == 0
                assert exposition.value("smg_exporter_target_samples", worker_addr=worker) == 0
            assert exposition.value("smg_exporter_target_up", worker_addr=workers[0]) == 1
            assert exposition.value("smg_exporter_target_samples", worker_addr=workers[0]) == 1
            assert fanout.failures.total() == len(BAD)


async def test_a_family_with_invalid_utf_8_costs_that_family() -> None:
    body = b'good 1\nbad{x="\xff"} 1\n'
    async with servers([answer(body)]) as (server,), fan_out([server.worker]) as fanout:
        exposition = await ask(fanout)
        assert exposition.values("good") == [1]
        assert not exposition.values("bad")
        assert fanout.left_out == {"broken_family": 1}


@pytest.mark.parametrize("wanted", [TEXT, GZIPPED, OPENMETRICS])
async def test_the_answer_is_what_was_offered(wanted: Representation) -> None:
    async with servers([answer()]) as (server,), fan_out([server.worker]) as fanout:
        body = b"".join(await fanout.scrape(wanted, 10.0))
        if wanted is GZIPPED:
            body = gzip.decompress(body)
        if wanted is OPENMETRICS:
            assert types(of_openmetrics(body))["up_to"] == "gauge"
        assert f'up_to{{worker_addr="{server.worker}"}} 1\n'.encode() in body


async def test_no_target_is_an_error_that_says_why() -> None:
    async with fan_out([]) as fanout:
        with pytest.raises(ScrapeError, match="no target: none given"):
            await fanout.scrape(TEXT, 10.0)


async def test_a_target_that_hangs_is_waited_for_until_its_deadline_only() -> None:
    async with fleet_of([answer(), targets.hang], target_timeout=0.4) as (_, fanout):
        start = time.monotonic()
        assert (await ask(fanout)).values("up_to") == [1]
        assert 0.4 <= time.monotonic() - start < 2


async def test_the_scrapers_own_deadline_goes_before() -> None:
    async with fleet_of([answer(), targets.hang], target_timeout=60) as (_, fanout):
        assert (await ask(fanout, timeout=1.0)).values("up_to") == [1]


async def test_a_short_request_gets_what_there_is_and_a_long_one_all() -> None:
    gate = asyncio.Event()

    async def late(writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        await answer()(writer)

    async with fleet_of([answer(), late]) as (_, fanout):
        durations = fanout.durations
        long = asyncio.create_task(ask(fanout))
        assert (await ask(fanout, timeout=0.5)).values("up_to") == [1]
        assert fanout.durations
        assert not durations, "another thread may be looking at them"
        gate.set()
        assert (await long).values("up_to") == [1, 1]


async def test_each_phase_is_observed_once_it_has_ended() -> None:
    observed: list[Mapping[str, float]] = []
    async with fan_out(["http://127.0.0.1:1"], observe=observed.append) as fanout:
        await asyncio.gather(ask(fanout), ask(fanout))
        assert [tuple(durations) for durations in observed] == [("fetch",), ("merge", "compress")]
        assert {name: seconds for each in observed for name, seconds in each.items()} == fanout.durations


async def test_a_target_that_goes_down_or_comes_back_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "exporter")
    broken = answer(status="500 Internal Server Error")
    answers = iter([answer(), broken, broken, answer(), answer()])

    async def in_turn(writer: asyncio.StreamWriter) -> None:
        await next(answers)(writer)

    logged = []
    async with fleet_of([in_turn]) as (_, fanout):
        for _ in range(5):
            await ask(fanout)
            logged.append([record.getMessage() for record in caplog.records])
            caplog.clear()
    assert logged == [[], ["target is down"], [], ["target is up again"], []]


async def test_a_target_that_never_was_up_is_logged_with_its_problem(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with fan_out(["http://127.0.0.1:1"]) as fanout:
        await ask(fanout)
        await ask(fanout)
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == ("WARNING", "target is down")
    assert record.__dict__["fields"] == {
        "worker": "http://127.0.0.1:1",
        "url": "http://127.0.0.1:1/metrics",
        "problem": "cannot connect: Connection refused",
    }


@pytest.mark.parametrize(
    ("body", "state"),
    [
        (b"a 1\n", "up"),
        (b"smg_exporter_worker_up 1\n", "up"),
        (b"smg_exporter_worker_up 0 1234\na 1\n", "dead"),
        (b'smg_exporter_worker_up{a="1"} 0\nsmg_exporter_worker_up{a="2"} 1\n', "up"),
        (b"smg_exporter_worker_up x\na 1\n", "up"),
    ],
)
def test_a_target_whose_worker_has_no_living_process_is_not_up(body: bytes, state: str) -> None:
    assert Outcome(0.1, BodyReader().read(body, b"w")).state == state


async def test_a_worker_is_up_or_down_once_a_scrape_has_found_it_so() -> None:
    dead = answer(b"smg_exporter_worker_up 0\n")
    async with servers([answer(), targets.reset, dead]) as running:
        workers = [from_option(it.worker) for it in running]
        async with fan_out([it.worker for it in running]) as fanout:
            start = time.monotonic()
            assert [fanout.was_up(worker, start) for worker in workers] == [None] * 3
            await ask(fanout)
            assert [fanout.was_up(worker, start) for worker in workers] == [True, False, False]
            assert [fanout.was_up(worker, time.monotonic()) for worker in workers] == [None] * 3


async def test_some_targets_are_asked_for_no_answer_and_what_is_not_up_is_noted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    dead = answer(b"smg_exporter_worker_up 0\n")
    async with fleet_of([answer(), targets.reset, dead, answer()]) as (running, fanout):
        workers = [from_option(it.worker) for it in running]
        start = time.monotonic()
        assert await fanout.ask(workers[:3]) == workers[:1]
        assert [fanout.was_up(worker, start) for worker in workers] == [None, False, False, None]
        assert not running[3].requests
        assert fanout.failures == {"connection": 1}
        assert fanout.last_scrape is None
    assert [record.getMessage() for record in caplog.records] == ["target is down"]


async def test_of_a_target_the_scrape_that_began_last_counts() -> None:
    gate, begun = asyncio.Event(), asyncio.Event()

    async def late(writer: asyncio.StreamWriter) -> None:
        begun.set()
        await gate.wait()
        await answer()(writer)

    behaviours = iter([late, answer(status="500 Internal Server Error")])

    async def in_turn(writer: asyncio.StreamWriter) -> None:
        await next(behaviours)(writer)

    async with fleet_of([in_turn]) as (running, fanout):
        worker = from_option(running[0].worker)
        scrape_before = asyncio.create_task(ask(fanout))
        await asyncio.wait_for(begun.wait(), targets.DEADLINE)
        assert await fanout.ask([worker]) == []
        gate.set()
        assert (await scrape_before).values("up_to") == [1]
        assert fanout.was_up(worker, 0.0) is False


async def test_a_read_for_no_answer_is_no_scrape_of_the_fleet() -> None:
    body = b'good 1\nbad{x="\xff"} 1\n'
    observed: list[Mapping[str, float]] = []
    async with (
        servers([answer(body)]) as (server,),
        fan_out([server.worker], observe=observed.append) as fanout,
    ):
        await fanout.read()
        assert [outcome.samples for outcome in fanout.outcomes.values()] == [1]
        assert (observed, fanout.durations, dict(fanout.left_out)) == ([], {}, {})
        await asyncio.gather(fanout.read(), ask(fanout))
        assert [tuple(durations) for durations in observed] == [("fetch",), ("merge", "compress")]
        assert fanout.left_out == {"broken_family": 1}
        assert len(server.requests) == 2, "they share a fan-out"


async def test_requests_that_wait_share_a_fan_out_and_none_gets_an_older_one() -> None:
    gates = [asyncio.Event(), asyncio.Event()]
    arrivals: asyncio.Queue[None] = asyncio.Queue()
    count = 0

    async def counting(writer: asyncio.StreamWriter) -> None:
        nonlocal count
        gate = gates[count]
        count += 1
        number = count
        arrivals.put_nowait(None)
        await gate.wait()
        await answer(b"number %d\n" % number)(writer)

    async with servers([counting]) as (server,), fan_out([server.worker]) as fanout:
        first = asyncio.create_task(ask(fanout))
        await asyncio.wait_for(arrivals.get(), targets.DEADLINE)
        later = [asyncio.create_task(ask(fanout)) for _ in range(5)]
        await asyncio.sleep(0)
        for gate in gates:
            gate.set()
        assert (await first).values("number") == [1]
        assert [(await one).values("number") for one in later] == [[2]] * 5
        assert len(server.requests) == 2


async def test_no_more_targets_than_allowed_are_scraped_at_a_time() -> None:
    most = now = 0

    async def counting(writer: asyncio.StreamWriter) -> None:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        await answer()(writer)
        now -= 1

    async with fleet_of([counting] * 20, concurrency=4) as (_, fanout):
        assert len((await ask(fanout)).values("up_to")) == 20
    assert 1 < most <= 4


async def test_silent_targets_give_their_turn_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.fleet.fanout._PATIENCE", 0.05)
    async with fleet_of([*[targets.hang] * 8, *[answer()] * 4], target_timeout=1.0, concurrency=2) as (
        _,
        fanout,
    ):
        start = time.monotonic()
        assert len((await ask(fanout)).values("up_to")) == 4
        assert time.monotonic() - start < 3


async def test_a_client_that_goes_away_takes_nothing_from_the_others() -> None:
    gate = asyncio.Event()

    async def late(writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        await answer()(writer)

    async with servers([late]) as (server,), fan_out([server.worker]) as fanout:
        gone, stays = (asyncio.create_task(ask(fanout)) for _ in range(2))
        await asyncio.sleep(0)
        gone.cancel()
        gate.set()
        assert (await stays).values("up_to") == [1]


async def test_a_fault_of_ours_costs_one_target(caplog: pytest.LogCaptureFixture) -> None:
    async with fleet_of([answer(), answer()]) as (running, fanout):
        read = fanout._readings.read

        async def failing(target: Target, answer: Answer) -> Reading:
            if target.worker_addr == running[0].worker:
                raise ZeroDivisionError
            return await read(target, answer)

        fanout._readings.read = failing  # type: ignore[method-assign]
        assert len((await ask(fanout)).values("up_to")) == 1
        assert fanout.failures == {"internal": 1}
    assert "unexpected error while scraping a target" in caplog.text


async def test_a_fault_of_ours_in_a_fan_out_keeps_nobody_waiting() -> None:
    async with fleet_of([answer()]) as (running, fanout):
        known = fanout._targets

        def failing() -> Sequence[Target]:
            fanout._targets = known
            raise ZeroDivisionError

        fanout._targets = failing
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # a task's error is told
        await asyncio.wait_for(fanout.read(), targets.DEADLINE)
        assert not running[0].requests
        assert (await ask(fanout)).values("up_to") == [1]


async def test_what_is_known_of_targets_that_are_gone_goes_too() -> None:
    async with fleet_of([answer(), answer()]) as (running, fanout):
        await ask(fanout)
        fanout._targets = lambda: [from_option(running[0].worker)]
        await ask(fanout)
        assert len(fanout._readings._last) == len(fanout.outcomes) == 1


async def test_what_a_target_said_is_kept_beyond_one_failure_and_not_beyond_two() -> None:
    failure = answer(status="500 Internal Server Error")
    behaviours = iter([answer(), failure, failure, answer()])

    async def behave(writer: asyncio.StreamWriter) -> None:
        await next(behaviours)(writer)

    async with fleet_of([behave]) as (_, fanout):
        kept = []
        for _ in range(4):
            await ask(fanout)
            kept.append(len(fanout._readings._last))
        assert kept == [1, 1, 0, 1]


async def test_a_body_that_takes_long_to_read_holds_up_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    large = b"".join(b"large%d 1\n" % number for number in range(1000))
    monkeypatch.setattr("exporter.fleet.readings._LARGE", len(large))
    async with fleet_of([answer(), answer(large)]) as (running, fanout):
        released = threading.Event()
        fanout._readings._thread_of_large.put(lambda: released.wait(targets.DEADLINE))
        exposition = await ask(fanout, timeout=1.0)
        assert (exposition.values("up_to"), exposition.values("large1")) == ([1], [])
        released.set()
        exposition = await ask(fanout)
        assert (exposition.values("up_to"), exposition.values("large1")) == ([1], [1])
        assert [len(server.requests) for server in running] == [2, 2]


async def test_targets_that_were_late_no_longer_take_the_place_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("exporter.fleet.fanout._PATIENCE", 60)
    for late in (targets.hang, targets.hang_in_the_body):
        async with fleet_of([late, late, answer()], 0.5, concurrency=1) as (_, fanout):
            assert (await ask(fanout)).values("up_to") == [1]
            assert (await ask(fanout, timeout=0.5)).values("up_to") == [1]


async def test_a_target_that_was_late_is_up_again_with_its_answer() -> None:
    async with fleet_of([answer()] * 3, concurrency=1) as (running, fanout):
        fanout.outcomes = {
            f"{server.worker}/metrics": Outcome(1.0, None, "timeout", "it was silent") for server in running
        }
        assert (await ask(fanout)).values("up_to") == [1, 1, 1]
        assert [slots._value for lane in (fanout._lane, fanout._lane_of_late) for slots in lane] == [1] * 4


async def test_to_wait_for_others_bodies_takes_none_of_a_targets_time() -> None:
    async with fleet_of([answer()], target_timeout=0.2, concurrency=1) as (_, fanout):
        await fanout._lane.receiving.acquire()  # as by a target whose body is received
        asyncio.get_running_loop().call_later(0.4, fanout._lane.receiving.release)
        assert (await ask(fanout)).values("up_to") == [1]
