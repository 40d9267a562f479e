"""What serves the simulated workers: one by itself, several together."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from exporter.demo import serving
from exporter.options.demo import DEMO_PORT_STEP, DemoOptions
from tests.support.daemon import free_port
from tests.support.waiting import DEADLINE
from tests.support.writers import writer

HOST = "127.0.0.1"
STOP = signal.SIGUSR1


def demo_options(workers: int) -> DemoOptions:
    """Return options whose ports nobody listens on."""
    for grpc_port in range(20001, 30000):
        page_port = free_port() if workers > 1 else None
        options = DemoOptions(
            grpc_port=grpc_port, workers=workers, listen_host=(HOST,), listen_port=page_port
        )
        if not serving.problem(options):
            return options
    raise AssertionError("no ports are free")


async def fetch(url: str) -> str:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.text()


@asynccontextmanager
async def served(options: DemoOptions, directories: Sequence[Path]) -> AsyncIterator[None]:
    """Serve several workers until the end of the block, which is a signal."""
    exporters = [options.serving(directory, number) for number, directory in enumerate(directories)]
    started = asyncio.Event()
    running = asyncio.create_task(serving._serve_several(options, exporters, {STOP}, started.set))
    try:
        await asyncio.wait_for(started.wait(), DEADLINE)
        yield
        os.kill(os.getpid(), STOP)
        assert await asyncio.wait_for(running, DEADLINE) == 0
    finally:
        running.cancel()


async def test_several_workers_have_an_exporter_each_and_a_fleet_over_them(tmp_path: Path) -> None:
    directories = [tmp_path / "first", tmp_path / "second"]
    for directory in directories:
        directory.mkdir()
    options = demo_options(len(directories))
    exporters = [options.serving(directory, number) for number, directory in enumerate(directories)]
    with writer(directories[0]) as first, writer(directories[1]) as second:
        first.set("sglang:load", 5)
        second.set("sglang:load", 7)
        async with served(options, directories):
            for exporter, value in zip(exporters, (5, 7), strict=True):
                line = f'sglang:load{{worker_addr="{exporter.worker_address}"}} {value}.0\n'
                assert line in await fetch(exporter.metrics_url)
            page = options.local_url(options.fleet.metrics_port)
            together = await fetch(f"{page}engine_metrics")
            loads = [line.split()[1] for line in together.splitlines() if line.startswith("sglang:load{")]
            assert loads == ["5.0", "7.0"]
            assert exporters[1].worker_address in await fetch(page)
    assert serving.problem(options) == "", "all ports are free again"


def test_one_worker_is_served_by_itself(tmp_path: Path) -> None:
    options = demo_options(1)
    asked: list[asyncio.Task[str]] = []

    async def ask() -> str:
        try:
            return await fetch(options.serving(tmp_path).metrics_url)
        finally:
            os.kill(os.getpid(), STOP)

    def on_start() -> None:
        asked.append(asyncio.create_task(ask()))

    with writer(tmp_path) as process:
        process.set("sglang:load", 5)
        assert serving.serve(options, [tmp_path], {STOP}, on_start) == 0
    assert f'sglang:load{{worker_addr="{options.worker_address}"}} 5.0\n' in asked[0].result()


def test_a_second_signal_is_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    async def interrupted(*_: object) -> int:
        raise asyncio.CancelledError

    monkeypatch.setattr(serving, "_serve_several", interrupted)
    assert serving.serve(DemoOptions(workers=2), [Path("a"), Path("b")], {STOP}, print) == 1


@pytest.mark.parametrize("which", ["first", "second", "fleet"])
def test_each_port_is_tried_beforehand(which: str) -> None:
    options = demo_options(2)
    first = options.serving(Path()).metrics_port
    port = {"first": first, "second": first + DEMO_PORT_STEP, "fleet": options.fleet.metrics_port}[which]
    with socket.create_server((HOST, port)):
        assert f"port {port}: the port is in use" in serving.problem(options)
