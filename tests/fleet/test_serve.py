"""Fleet mode as a process of its own, over real exporters."""

import json
import signal
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.daemon import Daemon, daemon, run
from tests.support.waiting import eventually
from tests.support.writers import writer


def states(fleet: Daemon) -> dict[str, str]:
    """Return what a scrape makes of each worker."""
    fleet.get("/engine_metrics")
    facts = json.loads(fleet.get("/status.json").text)
    return {target["worker_addr"]: target["state"] for target in facts["targets"]}


def test_demos_are_merged_and_one_that_ends_takes_only_itself(tmp_path: Path) -> None:
    with ExitStack() as stack:
        last = ExitStack()
        stack.enter_context(last)
        demos = [
            context.enter_context(daemon(tmp_path / f"demo{number}", "demo", "--ranks=1"))
            for number, context in enumerate((stack, last))
        ]
        names = [f"grpc://worker{number}:8001" for number in range(2)]
        options = [f"--worker={name}={demo.url}/metrics" for name, demo in zip(names, demos, strict=True)]
        fleet = stack.enter_context(daemon(tmp_path / "fleet", "fleet", *options, "--label=cluster=test"))

        def both_are_in() -> bool:
            labels = fleet.get("/engine_metrics").exposition.labels("sglang:num_running_reqs")
            return {found["worker_addr"] for found in labels} == set(names)

        eventually(both_are_in, "both demos' metrics are in the answer")
        exposition = fleet.get("/engine_metrics").exposition
        exposition.check()
        of_workers = [
            sample for sample in exposition.samples if not sample.name.startswith("smg_exporter_target_")
        ]
        assert {sample.labels["cluster"] for sample in of_workers} == {"test"}
        last.close()
        eventually(lambda: states(fleet) == {names[0]: "up", names[1]: "down"}, "the demo that ended is down")
        assert fleet.get("/engine_metrics").exposition.values("sglang:num_running_reqs", worker_addr=names[0])


def test_a_worker_without_a_living_process_is_not_up(tmp_path: Path) -> None:
    (tmp_path / "worker").mkdir()
    with (
        writer(tmp_path / "worker") as process,
        daemon(tmp_path / "worker") as worker,
        daemon(tmp_path / "fleet", "fleet", f"--worker=grpc://w:1={worker.url}/metrics") as fleet,
    ):
        process.add("c")
        eventually(lambda: states(fleet) == {"grpc://w:1": "up"}, "the worker is up")
        process.kill()
        eventually(lambda: states(fleet) == {"grpc://w:1": "dead"}, "its end is seen")
        assert "1 target down: no worker is up" in fleet.get("/").text
        assert fleet.get("/engine_metrics").exposition.values("smg_exporter_target_up") == [1]
        assert not fleet.said("target is down"), "it can be scraped"


def test_its_state_in_a_line_says_how_many_cannot_be_scraped(tmp_path: Path) -> None:
    with daemon(tmp_path / "fleet", "fleet", "--worker=http://127.0.0.1:1") as fleet:
        assert states(fleet) == {"http://127.0.0.1:1": "down"}
        fleet.signal(signal.SIGHUP)
        status = f'status="serving 1 target on port {fleet.port}; 1 cannot be scraped"'
        eventually(lambda: fleet.said(status), status)


def test_a_workers_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "workers.json"
    file.write_text('[{"targets": ["http://127.0.0.1:1"]}]')
    with daemon(tmp_path / "fleet", "fleet", f"--workers-file={file}") as fleet:
        assert states(fleet) == {"http://127.0.0.1:1": "down"}
        file.write_text('[{"targets": ["http://127.0.0.1:2", "grpc://no-port"]}]')
        both = ["http://127.0.0.1:2", "http://127.0.0.1:1"]  # the latter vanished while down
        eventually(lambda: list(states(fleet)) == both, "the edit is read")
        assert fleet.scrape().values("smg_exporter_discovery_skipped", source="file") == [1]
        file.write_text('[{"targets"')
        eventually(
            lambda: fleet.scrape().values("smg_exporter_discovery_up", source="file") == [0],
            "the edit is noticed",
        )
        assert list(states(fleet)) == both
        assert fleet.get("/readyz").status == 200


def test_no_target_yet_is_not_ready(tmp_path: Path) -> None:
    with daemon(tmp_path / "fleet", "fleet", f"--workers-file={tmp_path / 'none.yaml'}") as fleet:
        answer = fleet.get("/readyz")
        assert (answer.status, answer.text) == (
            503,
            f"no target: {tmp_path / 'none.yaml'}: No such file or directory\n",
        )
        assert fleet.get("/engine_metrics").status == 503


BAD = {
    (): (
        "--worker: required; or set SMG_EXPORTER_WORKER, or worker in the --config file; "
        "or --workers-file, or --smg-url"
    ),
    ("--worker=grpc://h",): (
        "--worker: 'grpc://h' is not a gRPC worker's URL: scheme, host and port, and nothing more"
    ),
    ("--smg-url=grpc://h:1",): "--smg-url: 'grpc://h:1' is not a URL that begins with http:// or https://",
    ("--worker=http://h", "--target-timeout=0"): (
        "--target-timeout: '0' is not a number of seconds from 0.1 to 60"
    ),
    ("--worker=http://h", "--target-ca-file=/nowhere"): (
        "--target-ca-file: '/nowhere' is not usable: No such file or directory"
    ),
}


@pytest.mark.parametrize(("words", "line"), BAD.items())
def test_a_bad_option_is_one_line_and_exit_code_2(words: tuple[str, ...], line: str) -> None:
    result = run("fleet", *words)
    assert (result.returncode, result.stderr) == (2, f"smg-exporter: error: {line}\n")


def test_a_taken_port_is_one_line_and_exit_code_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        result = run("fleet", "--worker=http://h", "--listen-host=127.0.0.1", f"--listen-port={port}")
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert "it was chosen by --listen-port" in result.stderr
