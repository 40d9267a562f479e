"""`dump`: one exposition on stdout, everything else on stderr."""

from pathlib import Path

import pytest
from prometheus_client.multiprocess import MultiProcessCollector

from exporter.options.sources import load
from exporter.options.worker import DumpOptions
from exporter.worker.dump import dump
from tests.support import files
from tests.support.compare import facts
from tests.support.daemon import run
from tests.support.expositions import Exposition

BARE: dict[str, str | bool] = {"liveness": "off", "no_worker_addr_label": True, "no_self_metrics": True}


def dumped(
    capfd: pytest.CaptureFixture[str], directory: Path, **options: str | list[str] | bool
) -> tuple[int, str, str]:
    """Return the exit code, stdout and stderr."""
    code = dump(load(DumpOptions, {"multiproc_dir": str(directory)} | BARE | options))
    return code, *capfd.readouterr()


@pytest.mark.parametrize("name", ["tp1", "tp8"])
def test_recorded_directories_are_as_the_stock_collector_has_them(
    recorded: dict[str, Path], name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    stock = facts(MultiProcessCollector(None, str(recorded[name])).collect())
    code, text, err = dumped(capfd, recorded[name])
    assert (code, err) == (0, "")
    it = Exposition(text)
    it.check()
    assert facts(it.families) == stock
    code, text, err = dumped(capfd, recorded[name], format="openmetrics")
    assert (code, err) == (0, "")
    it = Exposition(text, openmetrics=True)
    it.check()
    assert facts(it.families) == stock
    assert all(sample.name.startswith("sglang:") for sample in it.samples)


def test_it_prints_what_serve_would(recorded: dict[str, Path]) -> None:
    result = run("dump", "--grpc-port=8001", f"--multiproc-dir={recorded['tp1']}", "--liveness=off")
    assert (result.returncode, result.stderr) == (0, "")
    it = Exposition(result.stdout)
    it.check()
    assert all(sample.labels["worker_addr"] == "grpc://127.0.0.1:8001" for sample in it.samples)
    assert it.value("smg_exporter_up") == 1
    assert it.value("smg_exporter_processes", state="unknown") == 2


def test_dead_writers_have_no_gauges(recorded: dict[str, Path], capfd: pytest.CaptureFixture[str]) -> None:
    _, text, _ = dumped(capfd, recorded["tp1"], liveness="on")
    types = {family.type for family in Exposition(text).families}
    assert types == {"counter", "histogram"}


def test_a_missing_directory_is_an_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "missing"
    code, text, err = dumped(capfd, missing)
    assert (code, text) == (1, "")
    assert err == f"smg-exporter: error: {missing}: No such file or directory\n"


def test_an_empty_directory_is_an_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, text, err = dumped(capfd, tmp_path)
    assert (code, text) == (1, "")
    assert err.startswith(f"smg-exporter: error: {tmp_path}: no .db file yet")
    assert err.count("\n") == 1


def test_what_is_skipped_is_said_and_no_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    files.write(tmp_path / "counter_1.db", {files.counter("x"): 1})
    (tmp_path / "counter_2.db").write_bytes(b"abc")
    (tmp_path / "what.db").touch()
    code, text, err = dumped(capfd, tmp_path)
    assert (code, Exposition(text).value("x_total")) == (0, 1)
    assert err.splitlines() == [
        "smg-exporter: counter_2.db is 3 bytes, less than its 8-byte header",
        "smg-exporter: what.db is not named TYPE_WRITER.db or gauge_MODE_WRITER.db with a known type and mode",
    ]


def test_nothing_but_bad_files_is_an_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "counter_2.db").write_bytes(b"abc")
    code, text, err = dumped(capfd, tmp_path)
    assert (code, text) == (1, "")
    assert err.splitlines() == [
        "smg-exporter: counter_2.db is 3 bytes, less than its 8-byte header",
        f"smg-exporter: error: {tmp_path}: none of its 1 .db files can be read",
    ]


def test_several_directories(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("a0", "a1", "b"):
        (tmp_path / name).mkdir()
        files.write(tmp_path / name / "counter_1.db", {files.counter("x"): 1})
    (tmp_path / "b" / "counter_2.db").touch()
    given = [f"{tmp_path}/a*,app=a", f"{tmp_path}/b,app=b"]
    code, text, err = dumped(capfd, tmp_path, multiproc_dir=given)
    it = Exposition(text)
    it.check()
    assert (code, it.value("x_total", app="a"), it.value("x_total", app="b")) == (0, 2, 1)
    assert err.startswith("smg-exporter: app=b: counter_2.db is empty")
