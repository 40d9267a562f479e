"""A fleet's parts, as the options have them wired."""

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from exporter.exposition.negotiation import negotiate
from exporter.fleet.parts import Fleet
from exporter.options.fleet import FleetOptions
from tests.support.targets import answer, reset, serving


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
    fleet.fanout.close()
    assert list(tasks) == names


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
    fleet.fanout.close()


async def test_a_worker_that_vanishes_from_the_file_while_down_is_kept(
    session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    file = tmp_path / "workers.yaml"
    async with serving(answer()) as well, serving(reset) as broken:
        file.write_text(f"[{{targets: ['{well.worker}', '{broken.worker}']}}]")
        fleet = Fleet(FleetOptions(workers_file=file), session)
        await fleet.look()
        await fleet.fanout.scrape(negotiate(None, None), 5.0)
        file.write_text("[]")
        await fleet.look()
        body = b"".join(await fleet.fanout.scrape(negotiate(None, None), 5.0)).decode()
        assert f'smg_exporter_target_up{{worker_addr="{broken.worker}"}} 0' in body
        assert well.worker not in body
        (kept,) = fleet.observer.status().targets
        assert (kept.worker_addr, kept.state, kept.listed) == (broken.worker, "down", False)
    fleet.fanout.close()
