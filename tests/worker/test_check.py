"""`check`: what would be served, and what stands in the way."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.settings import load
from exporter.worker.check import check
from tests.support import files
from tests.support.daemon import free_port


class Checks:
    """Runs `check`, and keeps its lines by their first word."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def run(self, directory: Path, **options: str | list[str] | bool) -> tuple[int, dict[str, list[str]]]:
        given: dict[str, str | list[str] | bool] = {
            "grpc_port": str(free_port() - 10_000),
            "multiproc_dir": str(directory),
            "listen_host": ["127.0.0.1"],
            "liveness": "off",
        }
        code = check(load(given | options, "check"))
        said: dict[str, list[str]] = {}
        out, err = self._capsys.readouterr()
        assert err == ""
        for line in out.splitlines():
            said.setdefault(line[:12].strip(), []).append(line[12:])
        return code, said


@pytest.fixture(name="checks")
def _checks(capsys: pytest.CaptureFixture[str]) -> Checks:
    return Checks(capsys)


@pytest.fixture(name="taken")
def _taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock.getsockname()[1]


def test_all_is_well(recorded: dict[str, Path], checks: Checks) -> None:
    port = free_port()
    code, said = checks.run(recorded["tp1"], grpc_port=str(port - 10_000), label=["zone=a"])
    worker = f"grpc://127.0.0.1:{port - 10_000}"
    assert code == 0
    assert said == {
        "worker": [worker],
        "labels": [f"worker_addr={worker}, zone=a"],
        "port": [f"{port}, derived from --grpc-port {port - 10_000} (+10000): free"],
        "url": [f"http://127.0.0.1:{port}/metrics"],
        "collector": ["incremental"],
        "directory": [f"{recorded['tp1']}: readable"],
        "processes": ["2 unknown"],
        "files": ["7 unknown"],
        "series": ["1075"],
    }


def test_it_says_where_it_would_listen(recorded: dict[str, Path], checks: Checks) -> None:
    port = str(free_port())
    code, said = checks.run(recorded["tp1"], listen_port=port, listen_host=[], telemetry_path="/worker")
    assert code == 0
    assert said["port"] == [f"{port}, chosen by --listen-port: free"]
    assert said["url"] == [f"http://0.0.0.0:{port}/worker", f"http://[::]:{port}/worker"]


def test_it_lets_go_of_the_port(recorded: dict[str, Path], checks: Checks) -> None:
    port = str(free_port())
    for _ in range(2):
        assert checks.run(recorded["tp1"], listen_port=port)[0] == 0


def test_a_taken_port(recorded: dict[str, Path], checks: Checks, taken: int) -> None:
    code, said = checks.run(recorded["tp1"], grpc_port=str(taken - 10_000))
    assert code == 1
    (line,) = said["port"]
    assert line.startswith(f"{taken}, derived from --grpc-port {taken - 10_000} (+10000): ")
    assert line.endswith("choose another with --listen-port")
    assert said["directory"] == [f"{recorded['tp1']}: readable"], "the rest is checked all the same"


def test_a_missing_directory(tmp_path: Path, checks: Checks) -> None:
    missing = tmp_path / "missing"
    code, said = checks.run(missing)
    assert code == 1
    assert said["directory"] == [f"{missing}: {missing}: No such file or directory"]
    assert (said["processes"], said["files"], said["series"]) == (["none"], ["none"], ["0"])
    assert said["port"][0].endswith("free")


def test_what_is_skipped_is_told_with_its_reason(tmp_path: Path, checks: Checks) -> None:
    files.write(tmp_path / "counter_1.db", {files.counter("x"): 1})
    (tmp_path / "counter_2.db").write_bytes(b"abc")
    code, said = checks.run(tmp_path, liveness="on", no_worker_addr_label=True)
    assert code == 0
    assert said["labels"] == ["none"]
    assert said["files"][0].endswith("1 skipped")
    assert said[""] == ["counter_2.db is 3 bytes, less than its 8-byte header"]


def test_only_bad_files(tmp_path: Path, checks: Checks) -> None:
    (tmp_path / "counter_2.db").touch()
    code, said = checks.run(tmp_path)
    assert code == 1
    assert said["files"] == ["1 skipped"]


def test_a_merge_that_fails_as_a_whole(tmp_path: Path, checks: Checks) -> None:
    (tmp_path / "counter_1.db").write_bytes(files.raw_file(files.raw_entry(b"no JSON")))
    code, said = checks.run(tmp_path, collector="stock")
    assert (code, said["collector"]) == (1, ["stock"])
    assert "prometheus_client's own merge failed: JSONDecodeError" in said["directory"][0]
