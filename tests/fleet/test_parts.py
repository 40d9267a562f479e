"""A fleet's parts, as the options have them wired."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from exporter.exposition.negotiation import negotiate
from exporter.exposition.text import Renderer
from exporter.fleet.parts import Fleet
from exporter.model import Format
from exporter.options.fleet import FleetOptions
from exporter.threads import in_thread
from tests.support.compare import text_of
from tests.support.targets import answer, serving


@pytest.fixture(name="session")
async def _session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.mark.parametrize(
    ("sources", "names"),
    [
        ({}, []),
        ({"workers_file": Path("/w.yaml")}, ["the watch of the workers file"]),
        ({"smg_url": "http://smg"}, ["the refresh of SMG's workers"]),
        (
            {"workers_file": Path("/w.yaml"), "smg_url": "http://smg"},
            ["the watch of the workers file", "the refresh of SMG's workers"],
        ),
    ],
)
async def test_each_source_is_kept_up_to_date_by_a_task(
    session: aiohttp.ClientSession, sources: dict[str, Path | str], names: list[str]
) -> None:
    fleet = Fleet(FleetOptions(**sources), session)  # type: ignore[arg-type]
    tasks = fleet.tasks
    for task in tasks.values():
        task.close()
    fleet.close()
    assert list(tasks) == [*names, "the scrapes of vanished targets"]


async def test_a_look_reads_the_sources_and_the_options_come_first(
    session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    file = tmp_path / "workers.yaml"
    file.write_text("[{targets: ['http://b', 'http://a']}]")
    fleet = Fleet(FleetOptions(worker=("http://a",), workers_file=file), session)
    assert [target.worker_addr for target in fleet.discovery.targets] == ["http://a"]
    await fleet.look()
    assert [target.worker_addr for target in fleet.discovery.targets] == ["http://a", "http://b"]
    assert [target.worker_addr for target in fleet.observer.status().targets] == ["http://a", "http://b"]
    fleet.close()


async def test_a_worker_that_vanishes_from_the_file_while_down_is_kept_though_nobody_scrapes(
    session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    file = tmp_path / "workers.yaml"
    async with serving(answer()) as well, serving(answer(status="500 Internal Server Error")) as broken:
        file.write_text(f"[{{targets: ['{well.worker}', '{broken.worker}']}}]")
        fleet = Fleet(FleetOptions(workers_file=file), session)
        await fleet.look()
        file.write_text("[]")
        await fleet.look()
        assert in_sd(fleet) == [well.worker, broken.worker], "both stay until they are asked"
        await fleet.settle(once())
        assert in_sd(fleet) == [broken.worker]
        (kept,) = fleet.observer.status().targets
        assert (kept.worker_addr, kept.state, kept.listed) == (broken.worker, "down", False)
        up = "smg_exporter_target_up"
        own = await in_thread(lambda: text_of(Renderer(Format.TEXT_0_0_4), fleet.telemetry.registry.tell()))
        assert f'{up}{{worker_addr="{broken.worker}"}} 0' in own.decode()
        await fleet.settle(once())
        assert [len(server.requests) for server in (well, broken)] == [1, 1], "each is asked once"
        body = b"".join(await fleet.fanout.scrape(negotiate(None, None), 5.0)).decode()
        assert f'{up}{{worker_addr="{broken.worker}"}} 0' in body
        assert well.worker not in body
    fleet.close()


async def test_a_source_that_flaps_has_each_vanished_worker_asked_and_leaves_nothing(
    session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    file = tmp_path / "workers.yaml"
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(serving(answer())) for _ in range(40)]
        fleet = Fleet(FleetOptions(workers_file=file), session)
        for _ in range(3):
            for workers in ([server.worker for server in servers], []):
                file.write_text(json.dumps([{"targets": workers}]))
                await fleet.look()
                await fleet.settle(once())
        assert [len(server.requests) for server in servers] == [3] * 40
        assert (fleet.discovery.targets, fleet.fanout.outcomes) == ((), {})
    fleet.close()


async def once() -> AsyncIterator[None]:
    yield


def in_sd(fleet: Fleet) -> list[str]:
    return [group["labels"]["worker_addr"] for group in fleet.observer.sd_groups()]
