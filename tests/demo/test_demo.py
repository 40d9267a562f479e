"""`run`: the worker around the exporter, whatever ends it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from textwrap import dedent

import pytest

from exporter import demo
from exporter.addresses import derived_metrics_port
from exporter.demo import serving
from exporter.demo.catalogue import Role
from exporter.demo.processes import Cast, SimulatedProcess, SimulatedWorker
from exporter.options.demo import DemoOptions
from tests.support.daemon import free_port
from tests.support.waiting import eventually

SCRIPT = """
    import signal, sys
    from exporter import demo
    from exporter.demo import serving
    from exporter.options.demo import DemoOptions

    def serve(options, workers, stop_on, on_start):
        print("serving", flush=True)
        signal.pause()

    serving.serve, serving.problem = serve, lambda _: ""
    sys.exit(demo.run(DemoOptions(ranks=2, grpc_port=int(sys.argv[1]))))
"""


@pytest.fixture
def options() -> DemoOptions:
    return DemoOptions(ranks=1, grpc_port=free_port())


@pytest.fixture
def serve_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Give a function that puts a function in the place of the exporters."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def use(serve: Callable[[Sequence[Path]], int], problem: str = "") -> None:
        def served(
            _: object, workers: Sequence[SimulatedWorker], _stop_on: object, on_start: Callable[[], None]
        ) -> int:
            on_start()
            return serve([worker.directory for worker in workers])

        monkeypatch.setattr(serving, "serve", served)
        monkeypatch.setattr(serving, "problem", lambda _: problem)

    return use


@pytest.fixture(autouse=True)
def _signals_are_given_back() -> Iterator[None]:
    before = [signal.getsignal(number) for number in demo.SIGNALS]
    yield
    assert [signal.getsignal(number) for number in demo.SIGNALS] == before


def written_pids(directory: Path) -> set[int]:
    return {int(file.stem.rsplit("_", 1)[1]) for file in directory.glob("*.db")}


def running_in(directory: Path) -> list[str]:
    """Return the processes that were told to write somewhere below a directory."""
    told = f"PROMETHEUS_MULTIPROC_DIR={directory}".encode()
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if told in environment.read_bytes():
                found.append(environment.parent.name)
    return found


@pytest.mark.parametrize("workers", [1, 2])
def test_run_serves_running_workers_and_cleans_up(
    workers: int,
    serve_with: Callable[..., None],
    running: Callable[[int], bool],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    pids: set[int] = set()
    options = DemoOptions(ranks=1, workers=workers, grpc_port=free_port() - 20)

    def serve(directories: Sequence[Path]) -> int:
        assert [directory.name for directory in directories] == [
            str(options.port(number)) for number in range(workers)
        ]
        for directory in directories:
            assert directory.parent.name.startswith("smg-exporter-demo-")
            assert directory.stat().st_mode & 0o077 == 0
            pids.update(written_pids(directory))
        assert all(running(pid) for pid in pids)
        return 7

    metrics = f"http://localhost:{derived_metrics_port(options.port(0))}/metrics"
    serve_with(serve)
    assert demo.run(options) == 7
    assert len(pids) == 2 * workers
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert list(tmp_path.iterdir()) == []

    shown = capsys.readouterr().out
    assert metrics in shown
    assert "smg-exporter verify --multiproc-dir /" in shown
    assert ("smg-exporter fleet --worker grpc://127.0.0.1:" in shown) is (workers > 1)
    assert all(str(pid) in shown for pid in pids)
    assert "scheduler tp_rank=0" in shown
    page = {1: metrics.removesuffix("metrics"), 2: "http://localhost:29011/"}[workers]
    assert f"smg-exporter top {page}metrics" in shown
    assert shown.rstrip().endswith(f"Open {page}"), "the last thing that is said"


@pytest.mark.parametrize(
    ("listening", "base"),
    [
        ([], "http://localhost:18001/"),
        (["::1"], "http://[::1]:18001/"),
        (["192.0.2.7", "0.0.0.0"], "http://localhost:18001/"),
    ],
)
def test_introduction_shows_where_the_exporter_listens(
    listening: list[str], base: str, tmp_path: Path
) -> None:
    worker = SimulatedWorker(tmp_path, Cast(ranks=1))
    process = SimulatedProcess(Role.SERVICER, None, subprocess.Popen(["true"], text=True))
    process.popen.wait()
    worker.processes = (process,)
    shown = demo.introduction([worker], DemoOptions(listen_host=tuple(listening)))
    worker.stop()
    assert shown.rstrip().endswith(f"Open {base}")
    assert f"kill -9 {process.pid}" in shown
    assert "a quiet start, a rush, " in shown


def test_run_cleans_up_after_an_error(
    options: DemoOptions, serve_with: Callable[..., None], tmp_path: Path
) -> None:
    def serve(_: Sequence[Path]) -> int:
        raise RuntimeError("a defect")

    serve_with(serve)
    with pytest.raises(RuntimeError, match="a defect"):
        demo.run(options)
    assert list(tmp_path.iterdir()) == []


def test_run_says_in_one_line_why_it_cannot_start(
    options: DemoOptions,
    serve_with: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    serve_with(lambda _: 0)
    monkeypatch.setattr("exporter.demo.processes.START_TIMEOUT", 0.0)
    assert demo.run(options) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("smg-exporter: error: scheduler tp_rank=0 (pid ")
    assert captured.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", demo.SIGNALS)
@pytest.mark.parametrize("moment", ["starting", "serving"])
def test_a_signal_ends_everything_quietly(number: signal.Signals, moment: str, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", dedent(SCRIPT), str(free_port())],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path)},
        start_new_session=True,
    ) as program:
        if moment == "starting":
            eventually(lambda: any(map(written_pids, tmp_path.glob("*/*"))), "a process has begun to write")
        else:
            assert program.stdout
            assert "serving\n" in iter(program.stdout.readline, "")
            assert len(running_in(tmp_path)) == 3
        os.killpg(program.pid, number)  # as a terminal does
        _, errors = program.communicate(timeout=20)
    assert (program.returncode, errors) == (0, "")
    assert running_in(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_a_taken_port_is_said_before_anything_starts(
    options: DemoOptions, serve_with: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    serve_with(lambda _: 0, problem="cannot listen on port 18001")
    assert demo.run(options) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "smg-exporter: error: cannot listen on port 18001\n"
