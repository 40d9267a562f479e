"""What the engine view gets of a fleet's targets."""

import gc
import json
import tracemalloc
from types import SimpleNamespace
from typing import Any, cast

import pytest

from exporter.fleet.fanout import Outcome
from exporter.fleet.last_reads import LastReads
from exporter.fleet.targets import Target, from_option
from exporter.scraping.reading import BodyReader
from exporter.service import engine_views
from exporter.service.engine_views import EngineViews
from tests.fleet.served import fleet
from tests.support.snapshots import counter, gauge, histogram
from tests.support.targets import answer, serving

BODY = (gauge("sglang:num_running_reqs", {"": 3}) + gauge("something", {"": 4})).encode()


def last_reads(outcomes: dict[str, Outcome], *targets: Target) -> LastReads:
    return LastReads(
        cast("Any", SimpleNamespace(targets=targets)), cast("Any", SimpleNamespace(outcomes=outcomes))
    )


def test_only_families_that_mean_something_are_taken() -> None:
    target = from_option("grpc://a:1")
    reading = BodyReader().read(BODY, b"grpc://a:1")
    (read,) = last_reads({target.metrics_url: Outcome(0.1, reading)}, target).all().values()
    assert read.labels == {"worker_addr": "grpc://a:1"}
    assert read.up is True
    assert read.snapshot
    assert [family.family.name for family in read.snapshot()] == ["sglang:num_running_reqs"]


def test_targets_that_are_dead_down_or_not_yet_scraped() -> None:
    dead, down, new = (from_option(f"grpc://{name}:1") for name in ("dead", "down", "new"))
    reading = BodyReader().read(gauge("smg_exporter_worker_up", {"": 0}).encode(), b"grpc://dead:1")
    outcomes = {
        dead.metrics_url: Outcome(0.1, reading),
        down.metrics_url: Outcome(0.1, None, "connect", "refused"),
    }
    reads = last_reads(outcomes, dead, down, new).all()
    assert [read.up for read in reads.values()] == [False, False, None]
    assert [read.snapshot is None for read in reads.values()] == [False, True, True]


async def test_who_looks_at_a_fleet_sees_its_workers() -> None:
    body = gauge("sglang:num_running_reqs", {'model_name="m"': 3}).encode()
    async with (
        serving(answer(body)) as worker,
        serving(answer(status="500 No")) as bad,
        fleet(from_option(worker.worker), from_option(bad.worker)) as served,
    ):
        status, _, text = await served.get("/engine.json?brief")
    assert status == 200
    good, broken = json.loads(text)["workers"]
    assert (good["worker_addr"], good["up"], good["model"]) == (worker.worker, True, "m")
    assert (broken["worker_addr"], broken["up"], broken["model"]) == (bad.worker, False, None)
    assert (good["requests"]["running"], broken["requests"]["running"]) == (3, None)


async def test_many_workers_fit_the_budget_together_with_their_snapshots(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As 500 fit 64 MiB; workers of one kind share all but the values."""
    monkeypatch.setattr(engine_views, "TOTAL_BUDGET", engine_views.TOTAL_BUDGET // 32)
    targets = [from_option(f"grpc://w{number}:1") for number in range(16)]
    reader = BodyReader()
    bounds = [*map(str, range(22)), "+Inf"]

    def body(value: float) -> bytes:
        names = ("time_to_first_token", "inter_token_latency", "e2e_request_latency")
        waits = {f'tp_rank="{rank}"': dict.fromkeys(bounds[-20:], value) for rank in range(8)}
        return "".join(
            [
                *(histogram(f"sglang:{name}_seconds", {"": dict.fromkeys(bounds, value)}) for name in names),
                histogram("sglang:queue_time_seconds", waits),
                gauge("sglang:num_running_reqs", {f'tp_rank="{rank}"': value for rank in range(8)}),
                counter("sglang:num_requests", {"": value}),
            ]
        ).encode()

    rounds: list[dict[str, Outcome]] = []
    for number in range(14):
        before = rounds[-1] if rounds else {}
        outcomes = {}
        for place, target in enumerate(targets):
            url = target.metrics_url
            known = before[url].reading if before else None
            reading = reader.read(body(number * place), target.worker_addr.encode(), known)
            outcomes[url] = Outcome(0.1, reading)
        rounds.append(outcomes)

    async def nothing() -> None:
        pass

    present: dict[str, Outcome] = {}
    reads = last_reads(present, *targets)
    views = EngineViews(nothing, reads.all)
    tracemalloc.start()
    try:
        for number, outcomes in enumerate(rounds):
            present.update(outcomes)
            views._take(1000 + 5 * number, reads.all())
        gc.collect()
        full, _ = tracemalloc.get_traced_memory()
        waits = [tracker.view()["latency_seconds"]["queue"] for tracker, _ in views._trackers.values()]
        views._trackers.clear()
        reads._snapshots.clear()
        gc.collect()
        empty, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert all(wait["p50"] is not None for wait in waits[1:])
    assert 0 < full - empty < engine_views.TOTAL_BUDGET
