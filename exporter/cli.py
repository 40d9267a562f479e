"""The command line: arguments -> settings -> one command."""

import argparse
import io
import os
import resource
import shutil
import sys
import textwrap
from collections.abc import Sequence
from pkgutil import resolve_name
from typing import Any, Literal, NoReturn, cast, get_args, get_origin

from pydantic.fields import FieldInfo

from exporter import __version__, logs
from exporter.errors import SettingsError
from exporter.settings import ENV_PREFIX, Settings, did_you_mean, flag, load

PROGRAM = "smg-exporter"
DEFAULT_COMMAND = "serve"
_MAX_OPEN_FILES = 65536

# name -> what it does, and the function (Settings -> exit code), imported only to run: --help is instant.
COMMANDS = {
    "serve": ("serve one worker's metrics (the default)", "exporter.worker.serve:serve"),
    "demo": ("run a simulated worker and its exporter", "exporter.demo:run"),
    "dump": ("print one exposition and exit", "exporter.worker.dump:dump"),
    "verify": (
        "compare our merge with prometheus_client's own, on live files",
        "exporter.worker.verify:verify",
    ),
    "check": (
        "validate settings, directory and port; say what would be served",
        "exporter.worker.check:check",
    ),
    "fleet": ("serve the metrics of many workers in one answer", "exporter.fleet.serve:serve"),
}
DESCRIPTION = "Serve the metrics of an SGLang gRPC worker, merged from the files its processes write."
SOURCES = f"""\
Every option can also be set as {ENV_PREFIX}<NAME> in the environment ({ENV_PREFIX}GRPC_PORT=8001; \
lists separated by commas, flags true or false) and in the --config file. The command line goes before \
the environment, that before the file, that before the defaults.
"""
EXAMPLES = """\
examples:
  smg-exporter --grpc-port 8001 --multiproc-dir /tmp/prom
  smg-exporter dump --grpc-port 8001 --format openmetrics
  smg-exporter check --config smg-exporter.toml
  smg-exporter demo --ranks 8
  smg-exporter fleet --worker grpc://10.0.0.1:8001 --worker grpc://10.0.0.2:8001
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program with these arguments (else the process's own) and return its exit code."""
    _prepare_streams()
    try:
        code = _run(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()  # here, where a closed pipe can still be met
    except SettingsError as error:
        for line in str(error).splitlines():
            print(f"{PROGRAM}: error: {line}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read stdout is gone; the interpreter's last flush must not complain.
        _give_up_stdout()
        return 141
    except OSError as error:
        print(f"{PROGRAM}: error: {error}", file=sys.stderr)
        _give_up_stdout()
        return 1
    return code


def _prepare_streams() -> None:
    """Let no character that the terminal lacks, and no stream that was closed, end the program."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - it lasts as long as we do
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _give_up_stdout() -> None:
    """Write nothing more, not at the interpreter's end either."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _raise_open_files_limit() -> None:
    """Allow as many open files as there may be: each file that is followed stays open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _MAX_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _run(argv: Sequence[str]) -> int:
    parser = _parser()
    known, rest = parser.parse_known_args(argv)
    given = vars(known)
    if given.pop("help"):
        print(parser.format_help(), end="")
        return 0
    if given.pop("version"):
        print(f"{PROGRAM} {__version__} (Python {sys.version.split()[0]})")
        return 0
    command = _command(rest)
    settings = load(given, command)
    logs.configure(settings.log_level, settings.log_format)
    _raise_open_files_limit()
    run = resolve_name(COMMANDS[command][1])
    code: int = run(settings)
    return code


def _command(words: Sequence[str]) -> str:
    """Return the command among the words that are no known option; argparse has it first, we anywhere."""
    flags = [flag(name) for name in (*Settings.model_fields, "help", "version")]
    for word in words:
        if word.startswith("-"):
            name = word.partition("=")[0]
            raise SettingsError(f"{name}: no such option{did_you_mean(name, flags)}")
    for word in words:
        if word not in COMMANDS:
            allowed = ", ".join(COMMANDS)
            raise SettingsError(f"{word!r} is not a command: {allowed}{did_you_mean(word, COMMANDS)}")
    if len(words) > 1:
        raise SettingsError(f"{words[1]!r} is one command too many, after {words[0]!r}")
    return words[0] if words else DEFAULT_COMMAND


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise SettingsError(message.removeprefix("argument "))


class _Formatter(argparse.HelpFormatter):
    """As wide as the terminal, up to what reads well; texts keep their lines, each wrapped."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28, width=min(shutil.get_terminal_size().columns - 1, 100))

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(text, width, break_on_hyphens=False)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        def wrap(line: str) -> str:
            hanging = " " * 10 if line.startswith(" ") else ""  # below the meanings of the commands
            return textwrap.fill(line, width, subsequent_indent=hanging, break_on_hyphens=False)

        return textwrap.indent("\n".join(map(wrap, text.splitlines())), indent)


def _parser() -> argparse.ArgumentParser:
    """Return a parser with an option for each field of Settings; values stay texts, for Settings to judge."""
    commands = "\n".join(f"  {name:8}{meaning}" for name, (meaning, _) in COMMANDS.items())
    parser = _Parser(
        prog=PROGRAM,
        usage=f"{PROGRAM} [COMMAND] [OPTION]...",
        description=f"{DESCRIPTION}\n\ncommands:\n{commands}",
        epilog=f"{SOURCES}\n{EXAMPLES}",
        formatter_class=_Formatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        add_help=False,
    )
    groups: dict[str, argparse._ArgumentGroup] = {}
    for name, field in Settings.model_fields.items():
        presentation = cast("dict[str, str]", field.json_schema_extra)
        title = presentation["group"]
        if title not in groups:
            groups[title] = parser.add_argument_group(title)
        groups[title].add_argument(flag(name), **_arguments(field, presentation))
    general = groups["general"]
    general.add_argument("-h", "--help", action="store_true", default=False, help="print this and exit")
    general.add_argument("--version", action="store_true", default=False, help="print the version and exit")
    return parser


def _arguments(field: FieldInfo, presentation: dict[str, str]) -> dict[str, Any]:
    """Return what argparse is to know about a field."""
    if field.annotation is bool:
        return {"help": f"{field.description} (default: off)", "action": "store_true"}
    kind = get_origin(field.annotation)
    return {
        "help": f"{field.description} (default: {presentation['default']})",
        "metavar": f"{{{','.join(get_args(field.annotation))}}}"
        if kind is Literal
        else presentation["metavar"],
        "action": "append" if kind in {tuple, dict} else "store",
    }
