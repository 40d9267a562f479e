"""A fleet's parts, as the options have them wired."""

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from exporter.fleet.parts import Fleet
from exporter.options import FleetOptions


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
