"""What serves the simulated workers: one by itself, several together."""

import asyncio
import os
import re
import signal
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from exporter.demo import serving
from exporter.demo.processes import Cast, DemoError, SimulatedWorker, simulated_workers
from exporter.discovery.finder import Finder
from exporter.options.demo import DEMO_PORT_STEP, DemoOptions
from exporter.service import run
from tests.support.daemon import free_port
from tests.support.expositions import Exposition
from tests.support.hosts import hosted
from tests.support.waiting import DEADLINE

HOST = "127.0.0.1"
STOP = signal.SIGUSR1


def demo_options(workers: int) -> DemoOptions:
    """Return options whose ports nobody listens on."""
    for grpc_port in range(20001, 30000):
        page_port = free_port() if workers > 1 else None
        options = DemoOptions(
            grpc_port=grpc_port, ranks=1, workers=workers, listen_host=(HOST,), listen_port=page_port
        )
        if not serving.problem(options):
            return options
    raise AssertionError("no ports are free")


@contextmanager
def simulated(options: DemoOptions, root: Path) -> Iterator[list[SimulatedWorker]]:
    ports = [options.port(number) for number in range(options.workers)]
    directories = [root / str(port) for port in ports]
    for directory in directories:
        directory.mkdir()
    with simulated_workers(directories, options.ranks, ports=ports) as workers:
        yield workers


async def fetch(url: str) -> str:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.text()


@asynccontextmanager
async def served(options: DemoOptions, workers: Sequence[SimulatedWorker]) -> AsyncIterator[None]:
    """Serve several workers until the end of the block, which is a signal."""
    started = asyncio.Event()
    endpoint = serving._endpoint(options)
    make = partial(serving._make_node, options, workers)
    running = asyncio.create_task(
        run.serve(make, endpoint.open(), endpoint.rule, stop_on={STOP}, on_start=started.set)
    )
    try:
        await asyncio.wait_for(started.wait(), DEADLINE)
        yield
        os.kill(os.getpid(), STOP)
        assert await asyncio.wait_for(running, DEADLINE) == 0
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_node_finds_several_workers_and_no_other_process(tmp_path: Path) -> None:
    options = demo_options(2)
    names = {f"grpc://{HOST}:{options.port(number)}" for number in range(2)}
    (tmp_path / "stranger").mkdir()
    with hosted(tmp_path / "stranger"), simulated(options, tmp_path) as workers:
        async with served(options, workers):
            text = await fetch(options.all_metrics_url)
            answer = Exposition(text)
            answer.check()
            assert {labels["worker_addr"] for labels in answer.labels("sglang:num_running_reqs")} == names
            assert "answers_total" not in answer.names, "the stranger's"
            done = {sum(answer.values("sglang:num_requests_total", worker_addr=name)) for name in names}
            assert len(done) == 2, "no two are alike"
            for number in range(2):
                alone = Exposition(await fetch(options.serving(Path(), number).metrics_url))
                assert alone.labels("smg_exporter_worker_up") == [
                    {"worker_addr": f"grpc://{HOST}:{options.port(number)}"}
                ], "at its derived port"
            page = await fetch(options.page_url)
            assert all(name in page for name in names)
            assert "/readyz" in page
            await fetch(f"{options.page_url}readyz")
    assert serving.problem(options) == "", "all ports are free again"


def test_a_simulated_worker_is_found_as_a_real_one_is(tmp_path: Path) -> None:
    options = demo_options(1)
    with simulated(options, tmp_path) as workers:
        (found,) = Finder(serving.SimulatedProcesses(workers)).look().workers
        assert found.server
        assert (found.server.scheme, found.server.port) == ("grpc", options.port(0))
        assert set(found.pids) == set(workers[0].pids)


async def test_workers_that_cannot_be_looked_into_are_said_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "PATIENCE", 0.1)
    options = demo_options(2)
    workers = [SimulatedWorker(tmp_path, Cast(ranks=1))] * 2  # no process of theirs can be seen
    with pytest.raises(DemoError, match=re.escape("node does not find the 2 simulated workers")) as caught:
        async with serving._make_node(options, workers):
            pass
    assert "only the exporter's own processes can be seen" in str(caught.value)
    assert str(caught.value).endswith("one worker, without --workers, is served without a look at processes")


def test_one_worker_is_served_by_itself(tmp_path: Path) -> None:
    options = demo_options(1)
    asked: list[asyncio.Task[str]] = []

    async def ask() -> str:
        try:
            return await fetch(options.all_metrics_url)
        finally:
            os.kill(os.getpid(), STOP)

    def on_start() -> None:
        asked.append(asyncio.create_task(ask()))

    with simulated(options, tmp_path) as workers:
        assert serving.serve(options, workers, {STOP}, on_start) == 0
    found = Exposition(asked[0].result()).labels("sglang:num_running_reqs")
    assert [labels["worker_addr"] for labels in found] == [options.worker_address]


@pytest.mark.parametrize("which", ["first", "second", "metrics of the second", "page"])
def test_each_port_is_tried_beforehand(which: str) -> None:
    options = demo_options(2)
    port = {
        "first": options.port(0),
        "second": options.port(0) + DEMO_PORT_STEP,
        "metrics of the second": options.port(1) + 10_000,
        "page": options.node.metrics_port,
    }[which]
    with socket.create_server((HOST, port)):
        problem = serving.problem(options)
    assert f"port {port}: the port is in use" in problem
    assert problem.endswith("--listen-port" if which == "page" else "--grpc-port")
