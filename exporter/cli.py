"""The command line: parses arguments into the options of one command, and runs the command."""

import argparse
import io
import os
import resource
import shutil
import signal
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from typing import Any, NoReturn

from exporter import PROGRAM, __version__
from exporter.errors import SettingsError
from exporter.forked import in_child
from exporter.options.commands import ALL, COMMANDS, DEFAULT_COMMAND, no_such_option
from exporter.options.option import ENV_PREFIX, Option, Options, described, flag
from exporter.options.shared import Serving

SHELLS = ("bash", "zsh", "fish")
_MAX_OPEN_FILES = 65536

DESCRIPTION = "Serve the metrics of an SGLang gRPC worker, merged from the files its processes write."
OTHERS = {
    "completion SHELL": f"print a script that completes the command line in {', '.join(SHELLS[:-1])} or {SHELLS[-1]}",
    "help [COMMAND]": "print a command's options, as COMMAND --help does",
}
SOURCES = f"""\
Every option can also be set as {ENV_PREFIX}<NAME> in the environment ({ENV_PREFIX}GRPC_PORT=8001; \
lists separated by commas, flags true or false, an empty value is ignored) and in the --config file. Precedence: \
command line, environment, file, default. The environment and the file may also hold options of other commands.
"""
EXIT_CODES = """\
exit codes:
  0  success, or stopped by SIGINT or SIGTERM
  1  failure: the message says why
  2  wrong option: the message names it
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program with `argv`, by default the process's arguments; return the exit code."""
    _prepare_streams()
    try:
        code = _run(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()  # here, so that BrokenPipeError is caught below
    except SettingsError as error:
        for line in str(error).splitlines():
            print(f"{PROGRAM}: error: {line}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of stdout is gone; the interpreter's last flush must not print an error.
        _give_up_stdout()
        return 141
    except OSError as error:
        print(f"{PROGRAM}: error: {error}", file=sys.stderr)
        _give_up_stdout()
        return 1
    return code


def _prepare_streams() -> None:
    """Survive a closed stdout, and characters that the terminal's encoding lacks."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - open until the process ends
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _give_up_stdout() -> None:
    """Redirect stdout to /dev/null, so that the interpreter's last flush cannot fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _raise_open_files_limit() -> None:
    """Raise the limit on open files as far as allowed: each file that is followed stays open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _MAX_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _run(argv: Sequence[str]) -> int:
    known, rest = _parser(ALL.values()).parse_known_args(argv)
    given = vars(known)
    words = _words(rest)
    wants_help, wants_version = given.pop("help"), given.pop("version")
    match words:
        case ["help", *asked]:
            return _print(_help(asked))
        case asked if wants_help:
            return _print(_help(asked))
        case _ if wants_version:
            return _print(f"{PROGRAM} {__version__} (Python {sys.version.split()[0]})\n")
        case ["completion", *shells]:
            return _print(_completion(shells))
        case _:
            name = _command(words)
            if operands := words[len(name.split()) :]:
                option = COMMANDS[name].operands
                given[option] = [*given.get(option, ()), *operands]
            return _run_command(name, given)


def _run_command(name: str, given: Mapping[str, Any]) -> int:
    """Run a command; `given` are the options of the command line."""
    command = COMMANDS[name]
    if foreign := [_not_of(name, option) for option in given if option not in described(command.options)]:
        raise SettingsError("\n".join(foreign))
    if not command.is_daemon and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # replaces __main__'s, which keeps daemons running
    # In a child process: pydantic and the other parsers would stay, a tenth of a daemon's memory.
    options = in_child(partial(_read, command.options, given), SettingsError)
    if isinstance(options, Serving):
        from exporter import logs  # noqa: PLC0415 - only daemons have a log

        logs.configure(options.log_level, options.log_format)
    _raise_open_files_limit()
    from exporter.loading import load  # noqa: PLC0415 - imports ssl, for which `--help` need not wait

    run: Callable[[Options], int] = load(command.function)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # replaces __main__'s, which exits at once
    return run(options)


def _read(options: type[Options], given: Mapping[str, Any]) -> Options:
    from exporter.options import sources  # noqa: PLC0415 - heavy; see above

    return sources.load(options, given)


def _print(text: str) -> int:
    print(text, end="")
    return 0


# --- Words and options ---


def _words(rest: Sequence[str]) -> list[str]:
    """Return the arguments that are no options; unlike with argparse's subparsers, options may precede the command."""
    for word in rest:
        if word.startswith("-"):
            name = word.partition("=")[0]
            raise SettingsError(f"{name}: {no_such_option(name, flag, [*ALL, 'help', 'version'])}")
    return list(rest)


def _command(words: Sequence[str]) -> str:
    """Return the name of the command that `words` begin with; there are more words only if it takes operands."""
    name = " ".join(words) or DEFAULT_COMMAND
    if name in COMMANDS:
        return name
    first = words[0]
    if first in COMMANDS and COMMANDS[first].operands:
        return first
    known = list(dict.fromkeys(each.split()[0] for each in (*COMMANDS, *OTHERS)))
    if first in known:
        raise SettingsError(f"{words[1]!r} is one word too many, after {first!r}")
    near = get_close_matches(first, [*known, "--version"], n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise SettingsError(f"{first!r} is not a command: {', '.join(known)}{hint}")


def _not_of(command: str, option: str) -> str:
    """Return the error for an option that the command does not take but others do."""
    takers = [name for name, other in COMMANDS.items() if option in described(other.options)]
    return f"{flag(option)}: not an option of {command}, but of {', '.join(takers)}"


def _completion(shells: Sequence[str]) -> str:
    if len(shells) != 1 or shells[0] not in SHELLS:
        raise SettingsError(f"completion: which shell? {', '.join(SHELLS)}")
    from exporter import completion  # noqa: PLC0415 - needed here only

    commands: dict[str, tuple[str, Sequence[Option]]] = {
        name: (each.meaning, [*described(each.options).values()]) for name, each in COMMANDS.items()
    }
    commands |= {name.split()[0]: (meaning, ()) for name, meaning in OTHERS.items()}
    return completion.script(shells[0], PROGRAM, commands, DEFAULT_COMMAND, SHELLS)


# --- Help ---


def _help(words: Sequence[str]) -> str:
    """Return the help of a command or of another word; without words, of the program and its default command."""
    if words and (usage := {each.split()[0]: each for each in OTHERS}.get(words[0])):
        formatter = _Formatter(PROGRAM)
        formatter.add_usage(f"{PROGRAM} {usage}", [], [])
        formatter.add_text(f"{OTHERS[usage][0].upper()}{OTHERS[usage][1:]}.")
        return formatter.format_help()
    name = _command(words)
    command = COMMANDS[name]
    if words:
        title = f"{command.meaning[0].upper()}{command.meaning[1:]}."
        operands = f" [{described(command.options)[command.operands].metavar}]..." if command.operands else ""
        usage, examples = f"{name} [OPTION]...{operands}", command.examples
    else:
        meanings = {each: COMMANDS[each].meaning for each in COMMANDS} | OTHERS
        lines = [f"  {each:19}{meaning}" for each, meaning in meanings.items()]
        title = "\n".join([DESCRIPTION, "", "commands:", *lines, "", f"The options of {name}:"])
        usage, examples = "[COMMAND] [OPTION]...", [each.examples[0] for each in COMMANDS.values()]
    listed = "\n".join(["examples:", *(f"  {PROGRAM} {example}" for example in examples)])
    return _parser(
        described(command.options).values(),
        usage=f"{PROGRAM} {usage}",
        description=title,
        epilog=f"{SOURCES}\n{EXIT_CODES}\n{listed}",
    ).format_help()


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise SettingsError(message.removeprefix("argument "))


class _Formatter(argparse.HelpFormatter):
    """Wraps to the terminal's width, at most 100 columns; keeps the line breaks of texts."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28, width=min(shutil.get_terminal_size().columns - 1, 100))

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(text, width, break_on_hyphens=False)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        def wrap(line: str) -> str:
            hanging = " " * 21 if line.startswith(" ") else ""  # aligns with the meanings of the commands
            return textwrap.fill(line, width, subsequent_indent=hanging, break_on_hyphens=False)

        return textwrap.indent("\n".join(map(wrap, text.splitlines())), indent)


def _parser(
    options: Iterable[Option], usage: str = "", description: str = "", epilog: str = ""
) -> argparse.ArgumentParser:
    """Return a parser of these options. Values stay texts: `options.sources` validates them."""
    parser = _Parser(
        prog=PROGRAM,
        usage=usage,
        description=description,
        epilog=epilog,
        formatter_class=_Formatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        add_help=False,
    )
    groups: dict[str, argparse._ArgumentGroup] = {}
    for option in options:
        if option.group not in groups:
            groups[option.group] = parser.add_argument_group(option.group)
        groups[option.group].add_argument(flag(option.name), **_arguments(option))
    general = groups["general"]
    general.add_argument("-h", "--help", action="store_true", default=False, help="print this and exit")
    general.add_argument("--version", action="store_true", default=False, help="print the version and exit")
    return parser


def _arguments(option: Option) -> dict[str, Any]:
    """Return the arguments of argparse's `add_argument` for an option."""
    if option.is_switch:
        return {"help": f"{option.meaning} (default: off)", "action": "store_true"}
    return {
        "help": f"{option.meaning} (default: {option.default})",
        "metavar": f"{{{','.join(option.choices)}}}" if option.choices else option.metavar,
        "action": "append" if option.is_repeatable else "store",
    }
