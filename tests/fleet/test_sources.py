"""The targets of several sources, and of one that fails."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from exporter.fleet.sources import Discovery, Source, SourceError
from exporter.fleet.targets import Target, from_option
from exporter.fleet.workers_file import WorkersFile
from tests.fleet.sourced import workers


async def test_a_wake_up_is_a_reading(tmp_path: Path) -> None:
    file = tmp_path / "workers.yaml"
    source = Source("file", WorkersFile(file))
    wakeups: asyncio.Queue[None] = asyncio.Queue()
    done: asyncio.Queue[None] = asyncio.Queue()

    async def wake() -> AsyncIterator[None]:
        while True:
            await wakeups.get()
            yield
            done.put_nowait(None)

    running = asyncio.create_task(source.run(wake()))
    for name in ("a", "b"):
        file.write_text(f"- targets: [grpc://{name}:1]")
        wakeups.put_nowait(None)
        await asyncio.wait_for(done.get(), 5)
        assert workers(source) == [f"grpc://{name}:1"]
    running.cancel()


class Fixed:
    def __init__(self, *texts: str) -> None:
        self.texts: tuple[str, ...] | None = texts

    async def read(self) -> list[object]:
        if self.texts is None:
            raise SourceError("away")
        return [from_option(text) for text in self.texts]


async def test_options_go_before_sources_and_each_worker_is_there_once() -> None:
    first, second = Fixed("grpc://b:1=http://first:1", "grpc://c:1"), Fixed("grpc://c:1", "grpc://d:1")
    sources = [Source("file", first), Source("smg", second)]  # type: ignore[arg-type]
    discovery = Discovery([from_option("grpc://a:1"), from_option("grpc://b:1")], sources)
    for source in sources:
        await source.refresh()
    assert [target.worker_addr for target in discovery.targets] == [f"grpc://{name}:1" for name in "abcd"]
    assert discovery.targets[1].metrics_url == "http://b:10001/metrics"
    second.texts = None
    await sources[1].refresh()
    assert len(discovery.targets) == 4
    assert discovery.problem == ""
    first.texts = ()
    await sources[0].refresh()
    assert [target.worker_addr for target in discovery.targets] == [f"grpc://{name}:1" for name in "abcd"]


async def test_a_worker_that_vanishes_while_down_stays_a_target_for_ten_minutes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reader, now, down = Fixed("grpc://a:1", "grpc://b:1", "grpc://c:1"), [0.0], {"grpc://a:1", "grpc://b:1"}
    source = Source(
        "smg",
        reader,  # type: ignore[arg-type]
        was_up=lambda target, _since: target.worker_addr not in down,
        clock=lambda: now[0],
    )
    discovery = Discovery([], [source])

    async def refreshed(*listed: str) -> list[str]:
        reader.texts = listed
        await source.refresh()
        return [target.worker_addr for target in discovery.targets]

    await source.refresh()
    caplog.clear()
    assert await refreshed() == ["grpc://a:1", "grpc://b:1"], "c answers, so it was removed on purpose"
    assert discovery.listed == frozenset()
    assert discovery.problem == ""
    assert await refreshed("grpc://a:1") == ["grpc://a:1", "grpc://b:1"]
    assert discovery.listed == {"grpc://a:1"}
    now[0] = 599.0
    assert await refreshed("grpc://a:1") == ["grpc://a:1", "grpc://b:1"]
    now[0] = 600.0
    reader.texts = None  # a gateway that is away does not prolong it
    await source.refresh()
    assert [target.worker_addr for target in discovery.targets] == ["grpc://a:1"]
    assert await refreshed() == ["grpc://a:1"]
    down.clear()
    assert await refreshed() == [], "it answers again"
    messages = [record.getMessage() for record in caplog.records if "vanished" in record.getMessage()]
    assert len(messages) == 2, "each time that a worker vanishes, once"


async def test_a_vanished_worker_is_undecided_until_a_scrape_has_found_it_up_or_down(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reader, found = Fixed("grpc://a:1", "grpc://b:1", "grpc://c:1"), dict[str, bool]()
    source = Source("smg", reader, was_up=lambda target, _since: found.get(target.worker_addr))  # type: ignore[arg-type]
    discovery = Discovery([from_option("grpc://c:1")], [source])
    await source.refresh()
    assert discovery.undecided == []
    reader.texts = ()
    await source.refresh()
    assert [target.worker_addr for target in discovery.targets] == [f"grpc://{name}:1" for name in "cab"]
    assert [target.worker_addr for target in discovery.undecided] == ["grpc://a:1", "grpc://b:1"], (
        "c is listed"
    )
    assert "vanished" not in caplog.text, "nobody knows yet whether they are down"
    found["grpc://a:1"] = False
    discovery.let_go([from_option("grpc://b:1")])
    assert discovery.undecided == []
    assert [target.worker_addr for target in discovery.targets] == ["grpc://c:1", "grpc://a:1"]
    assert caplog.text.count("vanished from their source while down") == 1


async def test_a_reading_that_one_refresh_gave_up_is_the_next_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.fleet.sources._PATIENCE", 0.01)
    gate, readings = asyncio.Event(), 0

    class Slow:
        async def read(self) -> list[Target]:
            nonlocal readings
            readings += 1
            await gate.wait()
            return [from_option("grpc://a:1")]

    source = Source("smg", Slow())
    for _ in range(2):
        await source.refresh()
    assert (source.problem, readings) == ("smg: not read within 0.01 s", 1)
    gate.set()
    await source.refresh()
    assert (workers(source), source.problem, readings) == (["grpc://a:1"], "", 1)


async def test_why_there_is_no_target_is_told() -> None:
    nothing, away = Fixed(), Fixed()
    away.texts = None
    sources = [Source("file", nothing), Source("smg", away)]  # type: ignore[arg-type]
    discovery = Discovery([], sources)
    assert discovery.problem == "no target: file: not read yet; smg: not read yet"
    for source in sources:
        await source.refresh()
    assert discovery.problem == "no target: file: names no worker; away"
