"""The run loop: what SIGHUP has read again, and what a daemon does not keep in memory."""

import signal
from pathlib import Path

import pytest

from tests.support.daemon import daemon
from tests.support.waiting import eventually
from tests.support.writers import writer

WITHOUT_PYDANTIC = (
    "import sys; from exporter.__main__ import main; code = main();"
    "sys.exit(code or len({'pydantic', 'pydantic_settings'} & set(sys.modules)))"
)
"""The program, which fails at its end where it has imported what only reads settings."""


@pytest.mark.parametrize("words", [(), ("fleet", "--worker=http://127.0.0.1:1"), ("demo", "--ranks=1")])
def test_a_daemon_never_imports_pydantic(tmp_path: Path, words: tuple[str, ...]) -> None:
    with daemon(tmp_path / "worker", *words, program=("-c", WITHOUT_PYDANTIC)) as it:
        for path in ("/metrics", "/", "/status.json", "/readyz", "/engine_metrics", "/sd"):
            it.get(path)


def test_sighup_has_a_worker_looked_at(tmp_path: Path) -> None:
    directory = tmp_path / "worker"
    directory.mkdir()
    with writer(directory) as process:
        process.add("c")
        with daemon(directory) as it:
            for number in (1, 2):
                it.signal(signal.SIGHUP)
                eventually(lambda: len(reloads(it.log)) == number, "it has looked again")  # noqa: B023 - done at once
            assert reloads(it.log)[-1].endswith(f'status="serving 1 series of 1 process on port {it.port}"')
            assert it.scrape().value("c_total") == 1


def test_sighup_has_a_fleets_targets_and_the_web_configuration_read(tmp_path: Path) -> None:
    workers, web = tmp_path / "workers.yaml", tmp_path / "web.yml"
    workers.write_text("[{targets: ['http://127.0.0.1:1']}]")
    web.write_text("http_server_config: {headers: {X-Frame-Options: deny}}")
    with daemon(tmp_path / "fleet", "fleet", f"--workers-file={workers}", f"--web-config={web}") as it:
        workers.write_text("[{targets: ['http://127.0.0.1:1', 'http://127.0.0.1:2']}]")
        web.write_text("http_server_config: {headers: {X-Frame-Options: sameorigin}}")
        it.signal(signal.SIGHUP)
        eventually(lambda: reloads(it.log), "it has looked again")
        assert reloads(it.log)[0].endswith(f'status="serving 2 targets on port {it.port}"')
        assert it.get("/healthz").headers["X-Frame-Options"] == "sameorigin"


def reloads(log: list[str]) -> list[str]:
    return [line for line in log if "SIGHUP" in line]
