import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest

from exporter import __version__, cli
from exporter.options.commands import ALL, COMMANDS
from exporter.options.option import Options, described, flag
from exporter.options.values import Directory
from exporter.options.worker import ServeOptions
from tests.support.daemon import free_port

ROOT = Path(__file__).parents[1]
WORKER = ["--grpc-port", "8001", "--multiproc-dir", "/d"]


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.environ", {})
    monkeypatch.setattr("exporter.logs.configure", lambda *_: None)
    # This process may have threads; how a real one forks is in test_forked.py, and below.
    monkeypatch.setattr("exporter.cli.in_child", lambda function, *_: function())


class Commands:
    """Stands in for the modules that hold the commands."""

    def __init__(self) -> None:
        self.ran: list[tuple[str, Options]] = []
        self.outcome: int | BaseException = 0

    def run(self, name: str, options: Options) -> int:
        self.ran.append((name, options))
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


@pytest.fixture(name="commands")
def _commands(monkeypatch: pytest.MonkeyPatch) -> Commands:
    commands = Commands()
    for name, command in COMMANDS.items():
        module_name, function = command.function.split(":")
        module = ModuleType(module_name)
        setattr(module, function, lambda options, name=name: commands.run(name, options))
        monkeypatch.setitem(sys.modules, module_name, module)
        monkeypatch.setattr("exporter." + module_name.split(".")[1], module, raising=False)
    return commands


def error(capsys: pytest.CaptureFixture[str], argv: Sequence[str]) -> str:
    """Run with arguments that are refused; return the one line without its start."""
    assert cli.main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("smg-exporter: error: ")
    return line.removeprefix("smg-exporter: error: ")


# --- Which command, with which settings ---


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_runs_its_function_with_its_options(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    commands.outcome = 7
    for name, value in {"GRPC_PORT": "8001", "MULTIPROC_DIR": "/d", "WORKER": "grpc://h:8001"}.items():
        monkeypatch.setenv(f"SMG_EXPORTER_{name}", value)
    assert cli.main(command.split()) == 7
    assert [(name, type(options)) for name, options in commands.ran] == [(command, COMMANDS[command].options)]


@pytest.mark.parametrize("place", range(len(WORKER) + 1)[::2])
def test_a_command_stands_anywhere(commands: Commands, place: int) -> None:
    assert cli.main([*WORKER[:place], "dump", *WORKER[place:]]) == 0
    assert commands.ran[0][0] == "dump"


def test_serve_is_the_default(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["smg-exporter", *WORKER])
    assert cli.main() == 0
    assert commands.ran == [("serve", ServeOptions(grpc_port=8001, multiproc_dir=(Directory("/d"),)))]


def test_every_kind_of_option_arrives(commands: Commands) -> None:
    argv = (
        "--label a=1 --listen-host ::1 --label b=x,y=z --listen-host=127.0.0.1 --per-process --liveness off"
    )
    assert cli.main([*WORKER, *argv.split(), "--max-file-size", "1GiB", "--max-requests=3"]) == 0
    settings = commands.ran[0][1]
    assert isinstance(settings, ServeOptions)
    assert settings.label == {"a": "1", "b": "x,y=z"}
    assert settings.listen_host == ("::1", "127.0.0.1")
    assert (settings.per_process, settings.no_self_metrics, settings.liveness) == (True, False, "off")
    assert (settings.max_file_size, settings.max_requests) == (1 << 30, 3)


def test_logs_are_set_up_as_asked(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []
    monkeypatch.setattr("exporter.logs.configure", lambda *how: asked.append(how))
    assert cli.main([*WORKER, "--log-level", "error", "--log-format", "json"]) == 0
    assert (asked, len(commands.ran)) == ([("error", "json")], 1)


# --- What is refused ---

WORDS = "serve, demo, dump, verify, check, fleet, node, healthcheck, top, completion, help"
BAD = [
    ("--grpc-port abc", "--grpc-port: 'abc' is not a port from 1 to 65535"),
    ("--grpc-port -5", "--grpc-port: '-5' is not a port from 1 to 65535"),
    ("--grpc-port=", "--grpc-port: '' is not a port from 1 to 65535"),
    ("--grpc-port", "--grpc-port: expected one argument"),
    ("--grpc-port --per-process", "--grpc-port: expected one argument"),
    ("--per-process=yes", "--per-process: ignored explicit argument 'yes'"),
    ("--grpc-prot 8001", "--grpc-prot: no such option; did you mean --grpc-port?"),
    ("--grpc-prot=8001", "--grpc-prot: no such option; did you mean --grpc-port?"),
    ("--grpc 8001", "--grpc: no such option; did you mean --grpc-port?"),
    ("--zzz", "--zzz: no such option"),
    ("-x", "-x: no such option"),
    ("--web-confg x", "--web-confg: no such option; did you mean --web-config?"),
    ("--port 80", "--port: no such option; did you mean --listen-port?"),
    ("--hlep", "--hlep: no such option; did you mean --help?"),
    ("dmup", f"'dmup' is not a command: {WORDS}; did you mean dump?"),
    ("fleat --help", f"'fleat' is not a command: {WORDS}; did you mean fleet?"),
    ("help fleat", f"'fleat' is not a command: {WORDS}; did you mean fleet?"),
    ("version", f"'version' is not a command: {WORDS}; did you mean --version?"),
    ("dump verify", "'verify' is one word too many, after 'dump'"),
    ("check dump", "'dump' is one word too many, after 'check'"),
    ("--rounds 3", "--rounds: not an option of serve, but of verify"),
    (
        "dump --listen-port 1",
        (
            "--listen-port: not an option of dump, but of serve, demo, check, check fleet, check node, fleet, node, "
            "healthcheck, top"
        ),
    ),
    (
        "check fleet --grpc-port 1",
        "--grpc-port: not an option of check fleet, but of serve, demo, dump, check, healthcheck, top",
    ),
    (
        "fleet --worker http://h --smg-api-key-file f",
        "--smg-api-key-file: is for a gateway, but there is no --smg-url",
    ),
    (
        "demo --worker-addr w --no-worker-addr-label",
        "--worker-addr: contradicts --no-worker-addr-label, which leaves the label out",
    ),
    ("completion", "completion: which shell? bash, zsh, fish"),
    ("completion tcsh", "completion: which shell? bash, zsh, fish"),
    ("--config nowhere.toml", "--config: 'nowhere.toml' is not readable: No such file or directory"),
    ("--label x", "--label: 'x' is not NAME=VALUE, the name of letters, digits and _, the value a text"),
]


@pytest.mark.parametrize(("argv", "line"), BAD)
def test_a_bad_command_line_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], commands: Commands, argv: str, line: str
) -> None:
    assert error(capsys, argv.split()) == line
    assert commands.ran == []


def test_each_missing_option_has_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[:3] for line in lines] == [
        ["smg-exporter", "error", "--grpc-port"],
    ]


def test_ctrl_c_is_130_and_one_line(capsys: pytest.CaptureFixture[str], commands: Commands) -> None:
    commands.outcome = KeyboardInterrupt()
    assert cli.main(WORKER) == 130
    assert capsys.readouterr() == ("", "smg-exporter: interrupted\n")


# --- Help ---


def long_help(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int, *words: str
) -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert cli.main([*words, "--help"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int, command: str
) -> None:
    text = long_help(capsys, monkeypatch, columns, *command.split())
    assert max(map(len, text.splitlines())) <= columns


@pytest.mark.parametrize("command", COMMANDS)
def test_a_commands_help_names_its_options_and_no_other(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    text = long_help(capsys, monkeypatch, 120, *command.split())
    own = described(COMMANDS[command].options)
    operands = " [URL]..." if command == "top" else ""
    assert text.startswith(f"usage: smg-exporter {command} [OPTION]...{operands}\n")
    for name in ALL:
        assert (f"\n  {flag(name)} " in text) is (name in own), name
    words = " ".join(text.split())
    assert words.count("(default: ") == len(own)
    assert words.count("SMG_EXPORTER_<NAME>") == words.count("exit codes:") == 1
    assert f"smg-exporter {COMMANDS[command].examples[0]}" in words


def test_the_bare_help_names_every_command_and_serves_options(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = long_help(capsys, monkeypatch, 120)
    words = " ".join(text.split())
    for command, (meaning, *_) in COMMANDS.items():
        assert f" {command} {meaning} " in words
    for command, meaning in cli.OTHERS.items():
        assert f"{command} {meaning}" in words
    for name in [*map(flag, described(ServeOptions)), "--help", "--version"]:
        assert text.count(f" {name} ") >= 1, name
    assert "\n  --rounds " not in text
    for default in ("127.0.0.1", "/metrics", "256MiB", "40", "drop-gauges", "$PROMETHEUS_MULTIPROC_DIR"):
        assert f"(default: {default})" in words


@pytest.mark.parametrize(
    ("argv", "same"),
    [
        ([], ["-h"]),
        ([], ["help"]),
        (["dump"], ["help", "dump"]),
        (["check", "fleet"], ["help", "check", "fleet"]),
        ([], [*WORKER, "--help"]),
        (["fleet"], ["--help", "fleet", "--grpc-port=0"]),
    ],
)
def test_every_way_to_ask_for_help(
    capsys: pytest.CaptureFixture[str], commands: Commands, argv: Sequence[str], same: Sequence[str]
) -> None:
    assert cli.main([*argv, "--help"]) == 0
    text = capsys.readouterr().out
    assert cli.main(same) == 0
    assert capsys.readouterr().out == text
    assert commands.ran == []


@pytest.mark.parametrize(
    ("argv", "usage"),
    [
        ("help completion", "completion SHELL"),
        ("completion --help", "completion SHELL"),
        ("completion bash --help", "completion SHELL"),
        ("help help", "help [COMMAND]"),
    ],
)
def test_the_help_of_words_that_take_no_options(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, argv: str, usage: str
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    assert cli.main(argv.split()) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert text.startswith(f"usage: smg-exporter {usage} ")
    assert cli.OTHERS[usage][1:] in text


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    python = ".".join(map(str, sys.version_info[:3]))
    assert capsys.readouterr().out == f"smg-exporter {__version__} (Python {python})\n"


# --- As a process ---


def test_a_closed_stdout_is_quiet() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "exporter", "--help"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={},
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=30) == 141


def test_a_bad_value_as_a_process() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "exporter", "--grpc-port", "0"],
        cwd=ROOT, capture_output=True, text=True, timeout=30, check=False, env={},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "smg-exporter: error: --grpc-port: '0' is not a port from 1 to 65535\n"


HEAVY = {"aiohttp", "prometheus_client", "watchfiles", "yaml", "tomllib", "asyncio", "ssl", "logging"}
PYDANTIC = {"pydantic", "pydantic_settings"}


def imported(*argv: str) -> set[str]:
    """Return what the program has imported when it ends."""
    code = f"import sys; from exporter.cli import main; main({argv!r}); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True, env={}
    )
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("argv", ["--help", "fleet --help", "--version", "completion bash"])
def test_help_is_instant(argv: str) -> None:
    assert not imported(*argv.split()) & (HEAVY | PYDANTIC | {"pydantic_core"})


@pytest.mark.parametrize(
    "argv",
    [
        "dump --no-worker-addr-label --multiproc-dir=DIR",
        "verify --multiproc-dir=DIR",
        "check --grpc-port=8001 --multiproc-dir=DIR",
        "check fleet --worker=http://h",
        "healthcheck --listen-port=1",
    ],
)
def test_what_read_the_settings_does_not_stay(argv: str, tmp_path: Path) -> None:
    """Of those that end by themselves; of daemons: service/test_run.py."""
    assert not imported(*argv.replace("DIR", str(tmp_path)).split()) & PYDANTIC


def test_a_defect_in_reading_the_settings_keeps_its_traceback() -> None:
    code = (
        "import sys; sys.modules['exporter.options.sources'] = None;"
        "from exporter.cli import main; sys.exit(main(['verify', '--multiproc-dir=/d']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={},
    )
    assert done.returncode == 1
    assert "ModuleNotFoundError: import of exporter.options.sources halted" in done.stderr
    assert done.stderr.splitlines()[-1] == "smg-exporter: error: its process ended with 1"


def waits_for(line: str, *argv: str) -> "subprocess.Popen[str]":
    """Start the program, which says what it imports; return it once it has said that line."""
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "exporter", *argv],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stderr
    assert any(re.search(rf"\| +{re.escape(line)}$", each.rstrip()) for each in process.stderr)
    return process


@pytest.mark.parametrize("module", ["argparse", "pydantic_core", "aiohttp.typedefs"])
def test_ctrl_c_during_imports_is_one_line(module: str, tmp_path: Path) -> None:
    with waits_for(module, "--grpc-port=8001", f"--multiproc-dir={tmp_path}") as process:
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    said = [line for line in errors.splitlines() if not line.startswith("import time:")]
    assert said == ["smg-exporter: interrupted"]


@pytest.mark.parametrize("command", ["serve", "fleet --worker=http://127.0.0.1:1", "node --match=nobody"])
@pytest.mark.parametrize("module", ["argparse", "pydantic_core", "aiohttp.typedefs"])
def test_sighup_during_imports_does_not_end_a_daemon(module: str, command: str, tmp_path: Path) -> None:
    where = ["--listen-host=127.0.0.1", f"--listen-port={free_port()}"]
    directory = [f"--multiproc-dir={tmp_path}"] if command == "serve" else []
    with waits_for(module, *command.split(), *where, *directory) as process:
        os.killpg(process.pid, signal.SIGHUP)
        assert process.stderr
        assert any("msg=listening" in line for line in process.stderr)
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 0


@pytest.mark.parametrize(("wrapper", "code"), [((), -signal.SIGHUP), (("nohup",), 1)])
def test_sighup_ends_other_commands_but_under_nohup(wrapper: Sequence[str], code: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        port = server.getsockname()[1]
        program = [*wrapper, sys.executable, "-m", "exporter", "healthcheck", f"--listen-port={port}"]
        with subprocess.Popen(program, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            asked, _ = server.accept()  # it waits for an answer
            process.send_signal(signal.SIGHUP)
            asked.close()
            process.communicate(timeout=30)
    assert process.returncode == code


def test_a_full_disk_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "exporter", "--help"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, cwd=ROOT)
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["smg-exporter: error: [Errno 28] No space left on device"]
