import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest

from exporter import __version__, cli
from exporter.settings import Settings, flag

ROOT = Path(__file__).parents[1]
WORKER = ["--grpc-port", "8001", "--multiproc-dir", "/d"]


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.environ", {})
    monkeypatch.setattr("exporter.logs.configure", lambda *_: None)


class Commands:
    """Stands in for the modules that hold the commands."""

    def __init__(self) -> None:
        self.ran: list[tuple[str, Settings]] = []
        self.outcome: int | BaseException = 0

    def run(self, name: str, settings: Settings) -> int:
        self.ran.append((name, settings))
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


@pytest.fixture(name="commands")
def _commands(monkeypatch: pytest.MonkeyPatch) -> Commands:
    commands = Commands()
    for name, (_, target) in cli.COMMANDS.items():
        module_name, function = target.split(":")
        module = ModuleType(module_name)
        setattr(module, function, lambda settings, name=name: commands.run(name, settings))
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


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_each_command_runs_its_function(commands: Commands, command: str) -> None:
    commands.outcome = 7
    assert cli.main([command, *WORKER, "--worker=grpc://h:8001"]) == 7
    assert [name for name, _ in commands.ran] == [command]


@pytest.mark.parametrize("place", range(len(WORKER) + 1)[::2])
def test_a_command_stands_anywhere(commands: Commands, place: int) -> None:
    assert cli.main([*WORKER[:place], "dump", *WORKER[place:]]) == 0
    assert commands.ran[0][0] == "dump"


def test_serve_is_the_default(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["smg-exporter", *WORKER])
    assert cli.main() == 0
    name, settings = commands.ran[0]
    assert (name, settings.grpc_port, settings.directory) == ("serve", 8001, Path("/d"))


def test_every_kind_of_option_arrives(commands: Commands) -> None:
    argv = (
        "--label a=1 --listen-host ::1 --label b=x,y=z --listen-host=127.0.0.1 --per-process --liveness off"
    )
    assert cli.main([*WORKER, *argv.split(), "--max-file-size", "1GiB", "--max-requests=3"]) == 0
    settings = commands.ran[0][1]
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
    ("dmup", "'dmup' is not a command: serve, demo, dump, verify, check, fleet; did you mean dump?"),
    ("fleat", "'fleat' is not a command: serve, demo, dump, verify, check, fleet; did you mean fleet?"),
    ("dump verify", "'verify' is one command too many, after 'dump'"),
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
        ["smg-exporter", "error", "--multiproc-dir"],
    ]


def test_ctrl_c_is_130_without_a_word(capsys: pytest.CaptureFixture[str], commands: Commands) -> None:
    commands.outcome = KeyboardInterrupt()
    assert cli.main(WORKER) == 130
    assert capsys.readouterr() == ("", "")


# --- Help ---


def long_help(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int) -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert cli.main(["--help"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_help_fits_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    text = long_help(capsys, monkeypatch, columns)
    assert max(map(len, text.splitlines())) <= columns
    assert "\n  smg-exporter --grpc-port 8001 --multiproc-dir /tmp/prom\n" in text


def test_help_names_every_option_default_and_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = long_help(capsys, monkeypatch, 120)
    for name in [*(flag(name) for name in Settings.model_fields), "--help", "--version"]:
        assert text.count(f" {name} ") >= 1, name
    words = " ".join(text.split())
    assert words.count("(default: ") == len(Settings.model_fields)
    for default in (
        "127.0.0.1",
        "/metrics",
        "256MiB",
        "40",
        "drop-gauges",
        "$PROMETHEUS_MULTIPROC_DIR",
        "info",
    ):
        assert f"(default: {default})" in words
    assert text.count("SMG_EXPORTER_<NAME>") == 1
    for command, (meaning, _) in cli.COMMANDS.items():
        assert f"{command} {meaning}" in words


@pytest.mark.parametrize("argv", [["-h"], ["dump", "--help"], [*WORKER, "--help"]])
def test_help_goes_before_the_command(
    capsys: pytest.CaptureFixture[str], commands: Commands, argv: Sequence[str]
) -> None:
    assert cli.main(argv) == 0
    assert capsys.readouterr().out.startswith("usage: smg-exporter [COMMAND] [OPTION]...")
    assert commands.ran == []


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


def test_help_imports_no_server() -> None:
    code = (
        "import sys; from exporter.cli import main; main(['--help']);"
        "print({'aiohttp', 'prometheus_client', 'watchfiles', 'yaml', 'tomllib'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True, env={}
    )
    assert done.stdout.splitlines()[-1] == "set()"


def test_a_full_disk_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "exporter", "--help"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, cwd=ROOT)
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["smg-exporter: error: [Errno 28] No space left on device"]
