"""Workers that come and go."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.multiproc.engine import Engine
from exporter.multiproc.liveness import Liveness
from exporter.service.engine_views import EngineViews
from exporter.worker.roster import Roster
from exporter.worker.watch import Watcher
from exporter.worker.worker import Worker
from tests.support.files import counter, write
from tests.support.waiting import DEADLINE, eventually


def worker_on(directory: Path) -> Worker:
    directory.mkdir()
    write(directory / "counter_1.db", {counter("x"): 1})
    labels = (("rank", directory.name),)
    watcher = Watcher(str(directory), Liveness.OFF, quiet=True)
    return Worker(watcher, lambda fresh: Engine(fresh, labels=labels), labels, quiet=True)


async def until(holds: Callable[[], bool]) -> None:
    await asyncio.to_thread(eventually, holds, "it happens")


async def test_each_worker_is_watched_from_when_it_comes_to_when_it_goes(tmp_path: Path) -> None:
    first, second = worker_on(tmp_path / "1"), worker_on(tmp_path / "2")
    roster = Roster([first])
    run = asyncio.create_task(roster.run())
    await until(lambda: bool(first.snapshot))
    assert not second.snapshot
    roster.replace([first, second])
    await until(lambda: bool(second.snapshot))
    roster.replace([second])
    await until(lambda: not first.snapshot)
    write(tmp_path / "1" / "counter_2.db", {counter("x"): 1})
    write(tmp_path / "2" / "counter_2.db", {counter("x"): 1})
    await until(lambda: len(second.watcher.current.files) == 2)
    assert len(first.watcher.current.files) == 1
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run


def fail(_changed: bool) -> bool:  # noqa: FBT001 - as the watcher calls it
    raise LookupError("a fault of ours")


async def test_a_lone_workers_watch_that_fails_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = worker_on(tmp_path / "1")
    monkeypatch.setattr(worker, "after_look", fail)
    with pytest.raises(ExceptionGroup) as caught:
        await Roster([worker]).run()
    (error,) = caught.value.exceptions
    assert isinstance(error, LookupError)


async def test_a_watch_that_fails_costs_the_others_nothing_and_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("exporter.worker.roster._PAUSE", 0.01)
    first, second = worker_on(tmp_path / "1"), worker_on(tmp_path / "2")
    run = asyncio.create_task(Roster([first, second]).run())
    with monkeypatch.context() as context:
        context.setattr(second, "after_look", fail)
        await until(lambda: bool(first.snapshot) and bool(caplog.records))
        assert not second.snapshot
    write(tmp_path / "2" / "counter_2.db", {counter("x"): 1})
    await until(lambda: bool(second.snapshot))
    assert vars(caplog.records[0])["fields"] == {"directory": f"{tmp_path}/2"}
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run


async def test_one_worker_that_can_be_served_is_enough(tmp_path: Path) -> None:
    roster = Roster([worker_on(tmp_path / "1"), worker_on(tmp_path / "2")])
    assert roster.problem == f"{tmp_path}/1: not listed yet; 1 more worker cannot be served either"
    await roster.workers[1].look()
    assert roster.problem == ""
    await roster.look()
    assert [one[0].family.name for one in roster.tell()] == ["smg_exporter_file_errors"] * 2


async def test_it_is_stuck_once_all_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    roster = Roster([worker_on(tmp_path / "1"), worker_on(tmp_path / "2")])
    first, second = roster.workers
    monkeypatch.setattr(first, "stuck", lambda _longest: "listing 1")
    assert roster.stuck(60) == ""
    monkeypatch.setattr(second, "stuck", lambda _longest: "listing 2")
    assert roster.stuck(60) == "listing 1"
    assert Roster().stuck(60) == ""


async def test_a_first_read_that_takes_long_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.worker.roster._FIRST_PATIENCE", 0.01)
    monkeypatch.setattr("exporter.worker.roster._PATIENCE", 10 * DEADLINE)
    roster = Roster([worker_on(tmp_path / "1")])
    (worker,) = roster.workers
    gate, update = threading.Event(), worker.engine.update
    monkeypatch.setattr(worker.engine, "update", lambda: gate.wait(DEADLINE) and update())
    async with asyncio.timeout(DEADLINE):
        await roster.look()
        views = EngineViews(roster.read, roster.last_reads)
        view = await views.look(dict)
    assert view is not None
    assert [one["up"] for one in view["workers"]] == [None]
    assert roster.problem == f"{tmp_path}/1: read 0 of 1 files so far"
    gate.set()
    await until(lambda: not roster.problem)


async def test_a_worker_that_hangs_costs_the_engine_views_of_the_others_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.worker.roster._PATIENCE", 0.01)
    monkeypatch.setattr("exporter.worker.worker._LONGEST_READ", 0.0)
    hanging, other = worker_on(tmp_path / "1"), worker_on(tmp_path / "2")
    roster = Roster([hanging, other])
    await roster.look()
    gate = threading.Event()
    monkeypatch.setattr(hanging.engine, "update", lambda: gate.wait(DEADLINE))
    for value in (2, 3):  # in the second round, it has been hanging for long
        write(tmp_path / "2" / "counter_1.db", {counter("x"): value})
        async with asyncio.timeout(DEADLINE):
            view = await EngineViews(roster.read, roster.last_reads).look(dict)
        assert view is not None
        assert [worker["rank"] for worker in view["workers"]] == ["1", "2"]
        await until(lambda value=value: other.snapshot[0].values[0][0] == value)  # type: ignore[misc]
        reads = roster.last_reads()
        assert reads[f"{tmp_path}/1"].snapshot is None, "old figures say nothing of it now"
        assert reads[f"{tmp_path}/2"].snapshot is not None
    gate.set()


async def test_a_worker_that_has_ended_keeps_nobody_waiting(tmp_path: Path) -> None:
    worker = worker_on(tmp_path / "1")
    worker.end()
    async with asyncio.timeout(DEADLINE):
        await worker.look()
