"""serve without a directory: the worker that listens on a port is found, and the one after it."""

import asyncio
import logging
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from exporter.discovery.finder import Finder
from exporter.errors import SettingsError
from exporter.exposition.negotiation import Encoding, Escaping, Representation
from exporter.model import Format
from exporter.options.worker import ServeOptions
from exporter.worker import seek
from exporter.worker.check import check
from exporter.worker.parts import Parts
from exporter.worker.seek import Seeker, user_name
from exporter.worker.serve import WorkerDaemon
from tests.support.daemon import free_port
from tests.support.expositions import Exposition
from tests.support.hosts import TestsProcesses, container, hosted

TEXT = Representation(Format.TEXT_0_0_4, Escaping.UNDERSCORES, Encoding.IDENTITY)
HOST = socket.gethostname()


@pytest.fixture(autouse=True)
def _only_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have only processes of this test looked into."""
    monkeypatch.setattr(seek, "Finder", partial(Finder, TestsProcesses()))


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def it(port: int) -> Parts:
    return Parts(ServeOptions(grpc_port=port))


def seeker(it: Parts) -> Seeker:
    assert it.seeker
    return it.seeker


async def until(it: Parts, problem: str) -> None:
    """Look until there is that problem; an empty text: until there is none."""
    async with asyncio.timeout(15):
        while it.roster.problem != problem:
            await seeker(it).look()
            await asyncio.sleep(0.02)


async def scrape(it: Parts) -> Exposition:
    return Exposition((await it.scraper.scrape(TEXT, 5)).decode())


@pytest.fixture(autouse=True)
def _others() -> Iterator[None]:
    """Run a process that is no relative of ours: who sees none is alone."""
    with subprocess.Popen(["sh", "-c", "sh -c 'cat; :'; :"], stdin=subprocess.PIPE):
        yield


@contextmanager
def gone(it: Parts) -> Iterator[None]:
    """End the workers at the end of the test."""
    try:
        yield
    finally:
        it.roster.replace([])


async def test_the_worker_is_waited_for_served_and_followed_to_its_next_directory(
    it: Parts, port: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    nobody = f"no process listens on port {port}"
    with gone(it):
        await seeker(it).look()
        assert it.roster.problem == nobody
        assert (await scrape(it)).value("smg_exporter_up") == 0
        for name, writers in (("first", 2), ("second", 1)):
            with hosted(tmp_path / name, "--grpc", port=port, writers=writers):
                await until(it, "")
                answer = await scrape(it)
                assert answer.value("answers_total", worker_addr=f"grpc://{HOST}:{port}") == writers
                assert answer.value("load", worker_addr=f"grpc://{HOST}:{port}") == 3 * writers
            await until(it, nobody)
            answer = await scrape(it)
            assert answer.value("answers_total") == writers
            assert answer.value("smg_exporter_worker_up") == 0
            assert "load" not in answer.names
    told = [record.getMessage() for record in caplog.records if record.name == "exporter.worker.seek"]
    assert told == [*["waiting for the worker", "found the worker"] * 2, "waiting for the worker"]


async def test_a_worker_that_restarts_in_the_same_directory_is_served_again(
    it: Parts, port: int, tmp_path: Path
) -> None:
    with gone(it):
        for count in (1, 2):
            with hosted(tmp_path, port=port):
                await until(it, "")
                assert (await scrape(it)).value("answers_total") == count
            await until(it, f"no process listens on port {port}")


async def test_a_server_without_metrics_files_is_said_to_be_one(it: Parts, port: int, tmp_path: Path) -> None:
    with gone(it), hosted(tmp_path, port=port, writers=0) as server:
        await until(
            it,
            f"process {server.pid} listens on port {port}, but neither it nor its children have a metrics file "
            "open: is --enable-metrics given?",
        )


async def test_several_directories_are_an_error_at_the_start(it: Parts, port: int, tmp_path: Path) -> None:
    with gone(it), two_directories(port, tmp_path), pytest.raises(SettingsError) as caught:
        await seeker(it).look()
    assert str(caught.value) == (
        f"--grpc-port: the processes of port {port} write into several directories: "
        f"{tmp_path}/a, {tmp_path}/b; set --multiproc-dir to one of them"
    )


async def test_several_directories_are_told_later(it: Parts, port: int, tmp_path: Path) -> None:
    with gone(it):
        await seeker(it).look()
        with two_directories(port, tmp_path):
            await until(
                it,
                f"the processes of port {port} write into several directories: "
                f"{tmp_path}/a, {tmp_path}/b; set --multiproc-dir to one of them",
            )


async def test_the_workers_of_two_containers_do_not_disturb_the_one_of_this_host(
    it: Parts, port: int, tmp_path: Path
) -> None:
    other = container(tmp_path, net=True)
    with gone(it), hosted(tmp_path, port=port, writers=2, prefix=other):
        await until(it, "")
        assert (await scrape(it)).value("answers_total") == 2
        with hosted(tmp_path, port=port, writers=1):
            async with asyncio.timeout(15):
                while (await scrape(it)).value("answers_total") != 1:
                    await seeker(it).look()


async def test_options_name_the_worker(port: int, tmp_path: Path) -> None:
    it = Parts(ServeOptions(grpc_port=port, grpc_host="gpu-7", label={"cluster": "a"}))
    with gone(it), hosted(tmp_path, port=port):
        await until(it, "")
        answer = await scrape(it)
    assert answer.value("answers_total", worker_addr=f"grpc://gpu-7:{port}", cluster="a") == 1


async def test_options_keep_gauges_and_judge_nobody(port: int, tmp_path: Path) -> None:
    it = Parts(ServeOptions(grpc_port=port, when_worker_down="keep-gauges", liveness="off"))
    with gone(it):
        with hosted(tmp_path, port=port):
            await until(it, "")
            assert (await scrape(it)).value("smg_exporter_processes", state="unknown") == 1
        await until(it, f"no process listens on port {port}")
        assert (await scrape(it)).value("load") == 3


async def test_the_daemon_looks_by_itself(port: int, tmp_path: Path) -> None:
    daemon = WorkerDaemon(ServeOptions(grpc_port=port))
    address = f"grpc://{HOST}:{port}"
    assert daemon.facts["worker"] == address, "the log names the worker as its series do"
    assert ("worker_addr", address) in daemon.parts.labels
    await daemon.look()
    assert daemon.ready
    assert daemon.summary(1) == f"waiting: no process listens on port {port}"
    tasks = [asyncio.create_task(task) for task in daemon.tasks.values()]
    with hosted(tmp_path, port=port):
        async with asyncio.timeout(15):
            while daemon.problem:  # noqa: ASYNC110 - what other tasks do is polled
                await asyncio.sleep(0.02)
        assert daemon.summary(1) == "serving 2 series of 1 process on port 1"
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    daemon._roster.replace([])


def test_check_says_what_is_waited_for_and_what_is_found(
    port: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ServeOptions(grpc_port=port, listen_port=free_port(), listen_host=("127.0.0.1",))
    assert check(options) == 1
    assert f"directory   no process listens on port {port}\n" in capsys.readouterr().out
    with hosted(tmp_path, port=port):
        assert check(options) == 0
    out = capsys.readouterr().out
    assert f"worker      http://{HOST}:{port}\n" in out
    assert f"directory   {tmp_path}: readable\n" in out


def test_a_user_without_a_name_is_a_number() -> None:
    assert user_name(0) == "root"
    assert user_name(4_000_000) == "4000000"


@contextmanager
def two_directories(port: int, tmp_path: Path) -> Iterator[None]:
    """Run a worker that listens, and a part of it that writes into another directory."""
    with hosted(tmp_path / "a", f"--also={tmp_path / 'b'}", port=port):
        yield
