"""The run loop: what SIGHUP has read again, and what a daemon imports, and when."""

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

PATHS = ("/metrics", "/", "/status.json", "/engine.json", "/readyz", "/engine_metrics", "/sd", "/nowhere")
TELLING_IMPORTS = (
    "import sys; from exporter.__main__ import main;"
    "told = 'ts=0 level=info msg=imported module={}';"
    "sys.addaudithook(lambda event, about: event == 'import' and about[0].startswith('exporter.')"
    " and print(told.format(about[0]), file=sys.stderr));"
    "sys.exit(main())"
)
"""The program, which logs what it imports of itself."""


@pytest.mark.parametrize("words", [(), ("fleet", "--worker=http://127.0.0.1:1"), ("demo", "--ranks=1")])
def test_a_daemon_never_imports_pydantic(tmp_path: Path, words: tuple[str, ...]) -> None:
    with daemon(tmp_path / "worker", *words, program=("-c", WITHOUT_PYDANTIC)) as it:
        for path in PATHS:
            it.get(path)


@pytest.mark.parametrize(
    ("words", "needed"),
    [
        ((), "exporter.worker.app"),
        (("--also=http://127.0.0.1:1/metrics",), "exporter.worker.also"),
        (("fleet", "--worker=http://127.0.0.1:1"), "exporter.fleet.app"),
        (("node", "--match=^nobody$"), "exporter.node.app"),
    ],
)
def test_a_daemon_imports_all_of_itself_before_it_serves(
    tmp_path: Path, words: tuple[str, ...], needed: str
) -> None:
    """A module imported later could be one of another version, installed meanwhile."""
    directory = tmp_path / "worker"
    directory.mkdir()
    with writer(directory) as process, daemon(directory, *words, program=("-c", TELLING_IMPORTS)) as it:
        process.add("c")
        for path in PATHS:
            it.get(path)
        it.signal(signal.SIGHUP)
        eventually(lambda: reloads(it.log), "it has looked again")
    imported = [number for number, one in enumerate(it.log) if "msg=imported" in one]
    serving = next(number for number, one in enumerate(it.log) if "msg=listening" in one)
    assert any(it.log[number].endswith(f"module={needed}") for number in imported)
    assert imported[-1] < serving, it.log[imported[-1]]


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
