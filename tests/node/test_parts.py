"""node in this process: real workers come and go, and it looks when told to."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.mmap_dict import MmapedDict

from exporter.demo.processes import SimulatedWorker, simulated_workers
from exporter.discovery.finder import Finder
from exporter.discovery.visits import GivenUpError
from exporter.discovery.workers import Worker as Finding
from exporter.exposition.negotiation import Encoding, Escaping, Representation
from exporter.model import Format
from exporter.node import parts
from exporter.node.parts import Node
from exporter.options.node import NodeOptions
from exporter.options.values import Duration
from exporter.worker.found import open_directory
from exporter.worker.scrape import Scraper
from tests.support.compare import of_stock, of_text
from tests.support.expositions import Exposition
from tests.support.files import counter
from tests.support.hosts import TestsProcesses, container, hosted
from tests.support.waiting import eventually

TEXT = Representation(Format.TEXT_0_0_4, Escaping.UNDERSCORES, Encoding.IDENTITY)


def make(**options: Any) -> Node:
    given = {"node_name": "gpu-1", "forget_after": Duration(1000), **options}
    return Node(NodeOptions(**given), partial(Finder, TestsProcesses()))


@asynccontextmanager
async def running(node: Node) -> AsyncIterator[Node]:
    """End all workers at the end of the test."""
    try:
        yield node
    finally:
        node.roster.replace([])


async def until(node: Node, done: Callable[[], bool]) -> None:
    """Look until something is so."""
    async with asyncio.timeout(15):
        await node.look()
        while not done():
            await asyncio.sleep(0.02)
            await node.look()


def live(node: Node, count: int) -> Callable[[], bool]:
    return lambda: len(node.members.live) == count


async def scrape(scraper: Scraper) -> Exposition:
    answer = Exposition((await scraper.scrape(TEXT, 5)).decode())
    answer.check()
    return answer


async def test_workers_here_and_in_containers_are_one_answer(tmp_path: Path) -> None:
    """Each worker has its own address, though two have the same path and the same pids."""
    for name in "ab":
        (tmp_path / name).mkdir()
    there = container(tmp_path / "b")
    async with running(make()) as node:
        with (
            hosted(tmp_path / "a", "--grpc", writers=2) as first,
            hosted(tmp_path / "b", prefix=there) as second,
            hosted(tmp_path / "b", prefix=there, writers=3) as third,
        ):
            await until(node, live(node, 3))
            answer = await scrape(node.scraper)
            for worker, scheme, writers in ((first, "grpc", 2), (second, "http", 1), (third, "http", 3)):
                address = f"{scheme}://gpu-1:{worker.port}"
                assert answer.value("answers_total", worker_addr=address) == writers
                assert answer.value("load", worker_addr=address) == 3 * writers
                assert answer.value("smg_exporter_worker_up", worker_addr=address) == 1
                assert answer.value("smg_exporter_processes", worker_addr=address, state="live") == writers
                alone = node.worker(address)
                assert alone
                one = await scrape(node.scraper_of(alone))
                assert one.labels("answers_total") == [{"worker_addr": address}]
            assert answer.value("smg_exporter_workers", state="live") == 3
            assert answer.value("smg_exporter_discovery_denied_processes") == 0
            assert node.worker("grpc://gpu-1:1") is None


async def test_what_sglang_writes_is_merged_as_stock_merges_it(tmp_path: Path) -> None:
    directories = [tmp_path / "a", tmp_path / "b"]
    for directory in directories:
        directory.mkdir()
    async with running(make()) as node:
        with simulated_workers(directories, ranks=2) as workers, stopped(workers):
            await until(node, live(node, 2))
            served = of_text(await node.scraper.scrape(TEXT, 5))
            names = {member.finding.path: member.name for member in node.members.live}
            for directory in directories:
                added = {"worker_addr": names[str(directory)]}
                ours = {
                    family: {
                        key: value for key, value in samples.items() if added.items() <= dict(key[1]).items()
                    }
                    for family, samples in served.items()
                    if family[0].startswith("sglang:")
                }
                assert ours == of_stock(directory.glob("*.db"), added)


@contextmanager
def stopped(workers: Sequence[SimulatedWorker]) -> Iterator[None]:
    """Stop the workers' processes for the block, so that two reads see the same."""
    pids = [pid for worker in workers for pid in worker.pids]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


async def test_an_ended_worker_leaves_its_counters_and_then_nothing(tmp_path: Path) -> None:
    async with running(make(forget_after=Duration(1))) as node:
        with hosted(tmp_path):
            await until(node, live(node, 1))
            assert {"answers_total", "load"} <= (await scrape(node.scraper)).names
        await until(node, live(node, 0))
        answer = await scrape(node.scraper)
        assert answer.value("answers_total") == 1
        assert "load" not in answer.names
        assert answer.value("smg_exporter_worker_up") == 0
        assert answer.value("smg_exporter_workers", state="down") == 1
        await until(node, lambda: not node.members.served)
        assert "answers_total" not in (await scrape(node.scraper)).names


async def test_a_worker_that_restarts_counts_anew(tmp_path: Path) -> None:
    async with running(make()) as node:
        port = 0
        for name, writers in (("first", 3), ("second", 1)):
            with hosted(tmp_path / name, port=port, writers=writers) as worker:
                port = worker.port
                await until(node, live(node, 1))
                assert (await scrape(node.scraper)).values("answers_total") == [writers]
            await until(node, live(node, 0))


async def test_a_worker_that_has_no_port_is_named_by_its_directory(tmp_path: Path) -> None:
    async with running(make()) as node:
        with hosted(tmp_path, port=None, prefix=["setsid", "-w"]):
            await until(node, live(node, 1))
            assert (await scrape(node.scraper)).labels("answers_total") == [{"directory": str(tmp_path)}]


async def test_labels_are_on_every_series(tmp_path: Path) -> None:
    async with running(make(label={"cluster": "a"}, kubernetes_labels=True)) as node:
        with hosted(tmp_path, environment={"HOSTNAME": "worker-0"}) as worker:
            await until(node, live(node, 1))
            labels = (await scrape(node.scraper)).labels("answers_total")
    assert labels == [{"cluster": "a", "pod": "worker-0", "worker_addr": f"http://gpu-1:{worker.port}"}]


async def test_series_beyond_the_limit_cost_only_their_worker_and_are_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("greedy", "other"):
        (tmp_path / name).mkdir()
    async with running(make(max_series=5)) as node:
        with (
            hosted(tmp_path / "greedy") as greedy,
            hosted(tmp_path / "other") as other,
            many_series(tmp_path / "greedy" / "counter_1.db"),
        ):
            await until(node, live(node, 2))
            answer = await scrape(node.scraper)
            for _ in range(2):
                await node.look()
    address = f"http://gpu-1:{greedy.port}"
    assert {worker.name: worker.problem for worker in node.status().workers if worker.problem} == {
        address: "has more series than --max-series allows: further ones are left out"
    }
    told = [record for record in caplog.records if "too many series" in record.message]
    assert [vars(record)["fields"]["worker"] for record in told] == [address]
    assert answer.value("smg_exporter_series", worker_addr=address) == 5
    assert answer.value("smg_exporter_file_errors_total", worker_addr=address, reason="too_many_series") == 97
    assert answer.value("answers_total", worker_addr=f"http://gpu-1:{other.port}") == 1


async def test_the_status_tells_each_worker_and_what_is_in_the_way(tmp_path: Path) -> None:
    async with running(make()) as node:
        assert node.problem == "no look at this host's processes has ended yet"
        await node.look()
        assert "only the exporter's own processes can be seen" in node.problem
        with hosted(tmp_path) as worker:
            await until(node, live(node, 1))
            assert node.problem == ""
            await scrape(node.scraper)
            status = node.status()
    (one,) = status.workers
    assert (one.name, one.state, one.directory) == (f"http://gpu-1:{worker.port}", "live", str(tmp_path))
    assert (one.series, one.process_counts) == (2, {"live": 1})
    assert "hosts.py" in one.command
    assert json.loads(json.dumps(status.as_json()))["workers"][0]["name"] == one.name


async def test_beyond_the_most_workers_the_rest_is_told(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    async with running(make(max_workers=1)) as node:
        with hosted(tmp_path / "a"), hosted(tmp_path / "b"):
            await until(node, lambda: node.members.left_out == 1)
            assert (await scrape(node.scraper)).value("smg_exporter_workers", state="left_out") == 1


async def test_a_look_that_fails_leaves_no_directory_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int] = []

    def open_one(finding: Finding, finder: Finder) -> int:
        if opened:
            raise GivenUpError
        opened.append(open_directory(finding, finder))
        return opened[0]

    for name in "ab":
        (tmp_path / name).mkdir()
    async with running(make()) as node:
        with hosted(tmp_path / "a"), hosted(tmp_path / "b"):
            finder = Finder(TestsProcesses())
            eventually(lambda: len(finder.look().workers) == 2, "two workers")
            monkeypatch.setattr(parts, "open_directory", open_one)
            with pytest.raises(GivenUpError):
                node._decide(finder)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened[0])


async def test_the_engine_view_has_every_worker(tmp_path: Path) -> None:
    async with running(make()) as node:
        with hosted(tmp_path) as worker:
            await until(node, live(node, 1))
            assert [read.labels for read in node._last_reads().values()] == [
                {"worker_addr": f"http://gpu-1:{worker.port}"}
            ]


@contextmanager
def many_series(path: Path) -> Iterator[None]:
    """Write a file with a hundred counters."""
    file = MmapedDict(str(path))
    for number in range(100):
        file.write_value(counter(f"c{number}"), 1.0, 0.0)
    try:
        yield
    finally:
        file.close()
