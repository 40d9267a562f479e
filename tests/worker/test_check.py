"""`check`: what would be served, and what stands in the way."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest

from exporter.options.sources import load
from exporter.options.worker import ServeOptions
from exporter.worker.check import check
from tests.support import files
from tests.support.certificates import Authority
from tests.support.checks import Checks
from tests.support.daemon import daemon, free_port
from tests.support.writers import writer

USERS = f"basic_auth_users: {{alice: {bcrypt.hashpw(b'secret', bcrypt.gensalt(4)).decode()}}}\n"
TLS = "tls_server_config: {cert_file: server.crt, key_file: server.key}\n"
CLIENTS = TLS.replace("}", ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.crt}")


@pytest.fixture(name="checks")
def _checks(capsys: pytest.CaptureFixture[str]) -> Checks:
    def check_with(directory: Path, **options: str | list[str] | bool) -> int:
        given: dict[str, str | list[str] | bool] = {
            "grpc_port": str(free_port() - 10_000),
            "multiproc_dir": str(directory),
            "listen_host": ["127.0.0.1"],
            "liveness": "off",
        }
        return check(load(ServeOptions, given | options))

    return Checks(capsys, check_with)


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
    readme = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    example = readme.partition("$ smg-exporter check ")[2].partition("\n$ ")[0].splitlines()[1:]
    assert [*dict.fromkeys(line.split()[0] for line in example if line[0] != " ")] == [*said]


def test_it_says_where_it_would_listen(recorded: dict[str, Path], checks: Checks) -> None:
    port = str(free_port())
    code, said = checks.run(recorded["tp1"], listen_port=port, listen_host=[], telemetry_path="/worker")
    assert code == 0
    assert said["port"] == [f"{port}, chosen by --listen-port: free"]
    assert said["url"] == [f"http://0.0.0.0:{port}/worker", f"http://[::]:{port}/worker"]


def test_an_address_that_others_may_have_is_noted(recorded: dict[str, Path], checks: Checks) -> None:
    code, said = checks.run(recorded["tp1"], listen_host=[], grpc_port="8001", listen_port=str(free_port()))
    assert code == 0
    assert said[""] == [
        "workers on other hosts may have the same address: set --grpc-host to what others call this host"
    ]


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
    assert said["directory"] == [f"{missing}: No such file or directory"]
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


# --- The port of the exporter that runs now ---


def test_the_port_of_the_exporter_that_is_to_be_restarted(recorded: dict[str, Path], checks: Checks) -> None:
    directory = recorded["tp1"]
    with daemon(directory, "--liveness=off") as it:
        code, said = checks.run(directory, listen_port=str(it.port), grpc_port="8001")
        assert code == 0
        assert said["port"] == [
            f"{it.port}, chosen by --listen-port: held by the smg-exporter that serves this worker now"
        ]


def test_the_port_of_another_workers_exporter(
    recorded: dict[str, Path], checks: Checks, tmp_path: Path
) -> None:
    with daemon(tmp_path / "other") as it:
        code, said = checks.run(recorded["tp1"], listen_port=str(it.port), grpc_port="8001")
        assert code == 1
        assert "the port is in use" in said["port"][0]
        for port, holder in (("8001", "held by"), ("8002", "the port is in use")):
            _, said = checks.run(tmp_path / "other", listen_port=str(it.port), grpc_port=port)
            assert holder in said["port"][0]


@pytest.mark.parametrize(
    ("text", "holder"),
    [
        (
            USERS,
            "held by an smg-exporter that shows its status to its users only, so that check could not look closer",
        ),
        (TLS, "held by the smg-exporter that serves this worker now"),
        (CLIENTS, "choose another with --listen-port"),
    ],
)
def test_the_port_of_one_with_a_web_configuration(
    recorded: dict[str, Path], checks: Checks, tmp_path: Path, text: str, holder: str
) -> None:
    Authority(tmp_path).issue("server")
    file = tmp_path / "web.yml"
    file.write_text(text)
    with daemon(recorded["tp1"], "--liveness=off", f"--web-config={file}") as it:
        code, said = checks.run(
            recorded["tp1"], listen_port=str(it.port), grpc_port="8001", web_config=str(file)
        )
    assert said["port"][0].endswith(f": {holder}")
    assert said["url"][0].startswith("http:" if text == USERS else "https:")
    assert code == (1 if text == CLIENTS else 0)


def test_a_worker_that_is_down(tmp_path: Path, checks: Checks) -> None:
    with writer(tmp_path) as process:
        process.add("c")
        code, said = checks.run(tmp_path, liveness="on")
        assert (code, said["processes"]) == (0, ["1 live"])
    code, said = checks.run(tmp_path, liveness="on")
    assert (code, said["processes"]) == (1, ["1 dead: the worker is down"])


def test_other_expositions_are_asked(recorded: dict[str, Path], checks: Checks) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        gone = f"http://127.0.0.1:{sock.getsockname()[1]}/metrics"
    with daemon(recorded["tp8"], "--liveness=off") as other:
        code, said = checks.run(recorded["tp1"], also=[other.url, gone])
    assert code == 0
    first, second = said["also"]
    assert re.fullmatch(rf"{other.url}/metrics: [1-9][0-9]+ samples", first)
    assert second == f"{gone}: cannot connect: Connection refused"


def test_several_workers_are_said_one_by_one(tmp_path: Path, checks: Checks) -> None:
    for name in ("dp0", "dp1"):
        (tmp_path / name).mkdir()
    files.write(tmp_path / "dp0" / "counter_1.db", {files.counter("x"): 1})
    both = [f"{tmp_path}/dp{rank},rank={rank}" for rank in (0, 1)]
    code, said = checks.run(tmp_path, multiproc_dir=both)
    assert code == 1, "one has nothing to serve"
    assert said["worker rank="] == ["0", "1"]
    assert said["directory"][0] == f"{tmp_path}/dp0: readable"
    assert said["directory"][1].startswith(f"{tmp_path}/dp1: no .db file yet")
    assert said["series"] == ["1", "0"]
    files.write(tmp_path / "dp1" / "counter_1.db", {files.counter("x"): 1})
    assert checks.run(tmp_path, multiproc_dir=both)[0] == 0


def test_an_exporter_of_the_same_workers_may_hold_the_port(tmp_path: Path, checks: Checks) -> None:
    for name in ("dp0", "dp1"):
        (tmp_path / name).mkdir()
        files.write(tmp_path / name / "counter_1.db", {files.counter("x"): 1})
    both = [f"{tmp_path}/dp{rank},rank={rank}" for rank in (0, 1)]
    with daemon(tmp_path / "any", "--liveness=off", *(f"--multiproc-dir={one}" for one in both)) as it:
        code, said = checks.run(tmp_path, multiproc_dir=both, listen_port=str(it.port), grpc_port="8001")
        assert code == 0
        assert said["port"][0].endswith("held by the smg-exporter that serves these workers now")
        code, said = checks.run(tmp_path, multiproc_dir=both[:1], listen_port=str(it.port), grpc_port="8001")
        assert code == 1
