"""`check fleet`: which workers would be scraped, and what stands in the way."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from exporter.fleet import check as checking
from exporter.fleet.check import check
from exporter.options.fleet import FleetOptions
from tests.support.checks import Checks
from tests.support.daemon import daemon, free_port, run
from tests.support.waiting import eventually


@pytest.fixture(name="checks")
def _checks(capsys: pytest.CaptureFixture[str]) -> Checks:
    def check_with(**options: Any) -> int:
        given: dict[str, Any] = {"listen_host": ("127.0.0.1",), "listen_port": free_port()}
        return check(FleetOptions(**given | options))

    return Checks(capsys, check_with)


@pytest.fixture(name="workers")
def _workers(tmp_path: Path) -> Path:
    file = tmp_path / "workers.yaml"
    file.write_text("[{targets: ['grpc://h:8001', 'grpc://no-port']}]")
    return file


def test_all_is_well(checks: Checks, workers: Path) -> None:
    port = free_port()
    code, said = checks.run(listen_port=port, worker=("http://w",), workers_file=workers)
    assert code == 0
    assert said == {
        "port": [f"{port}, chosen by --listen-port: free"],
        "url": [f"http://127.0.0.1:{port}/engine_metrics"],
        "source": ["file: 1 targets, 1 entries skipped"],
        "targets": ["2"],
        "": [
            "'grpc://no-port' is not a gRPC worker's URL: scheme, host and port, and nothing more",
            "http://w http://w/metrics",
            "grpc://h:8001 http://h:18001/metrics",
        ],
    }


def test_a_source_that_cannot_be_read(checks: Checks, tmp_path: Path) -> None:
    code, said = checks.run(worker=("http://w",), workers_file=tmp_path / "none.yaml")
    assert code == 1
    assert said["source"] == [f"{tmp_path / 'none.yaml'}: No such file or directory"]
    assert said["targets"] == ["1"], "the rest is checked all the same"


def test_no_worker_at_all(checks: Checks, workers: Path) -> None:
    workers.write_text("[]")
    assert checks.run(workers_file=workers)[0] == 1


async def test_a_gateway_that_hangs_is_not_waited_for(
    checks: Checks, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    app = web.Application()
    app.router.add_get("/workers", hang)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    monkeypatch.setattr(checking, "_PATIENCE", 0.2)
    code, said = await asyncio.to_thread(checks.run, smg_url=f"http://127.0.0.1:{port}")
    assert (code, said["source"]) == (1, ["smg: not read yet"])
    await runner.cleanup()


def test_a_taken_port(checks: Checks) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, said = checks.run(listen_port=taken.getsockname()[1], worker=("http://w",))
    assert code == 1
    assert said["port"][0].endswith("choose another with --listen-port")


def test_a_port_of_the_fleet_that_runs_and_of_a_workers_exporter(checks: Checks, tmp_path: Path) -> None:
    with daemon(tmp_path / "fleet", "fleet", "--worker=http://w") as it:
        code, said = checks.run(listen_port=it.port, worker=("http://w",))
        assert code == 0
        assert said["port"][0].endswith("held by the smg-exporter that serves this fleet now")
        assert checks.run(listen_port=it.port, worker=("http://v",))[0] == 1, "another fleet"
    with daemon(tmp_path / "worker") as it:
        assert checks.run(listen_port=it.port, worker=("http://v",))[0] == 1


def test_the_port_of_the_same_fleet_that_still_shows_a_vanished_worker(
    checks: Checks, tmp_path: Path
) -> None:
    file = tmp_path / "workers.yaml"
    lost = f"http://127.0.0.1:{free_port()}"
    file.write_text(f"[{{targets: ['http://127.0.0.1:1', '{lost}']}}]")
    with daemon(tmp_path / "fleet", "fleet", f"--workers-file={file}") as it:
        assert lost in it.get("/engine_metrics").text
        file.write_text("[{targets: ['http://127.0.0.1:1']}]")
        eventually(lambda: it.said("vanished from their source"), "the file is read again")
        assert lost in it.get("/sd").text
        assert checks.run(listen_port=it.port, workers_file=file)[0] == 0


@pytest.mark.parametrize(
    ("option", "line"),
    [
        (
            "--target-ca-file=/nowhere",
            "--target-ca-file: '/nowhere' is not usable: No such file or directory",
        ),
        ("--web-config=/nowhere", "--web-config: /nowhere: No such file or directory"),
    ],
)
def test_a_file_that_is_not_there(option: str, line: str) -> None:
    result = run("check", "fleet", "--worker=http://w", option)
    assert (result.returncode, result.stderr) == (2, f"smg-exporter: error: {line}\n")
