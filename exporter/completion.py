"""Scripts that complete the command line in bash, zsh and fish.

The scripts contain all commands and options, so completing runs no Python. Options are those of the command on the
line, or of the default command if there is none. After `check fleet` they are those of `fleet`.
"""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from exporter.options.commands import ALL
from exporter.options.option import Option, flag

Commands = Mapping[str, tuple[str, Sequence[Option]]]
"""Meaning and options of each command, by its name: `check fleet`."""

_GENERAL = ("--help", "--version")


def script(shell: str, program: str, commands: Commands, default: str, shells: Sequence[str]) -> str:
    """Return the script for a shell; on a line without a command, it completes options of the `default` one."""
    if shell == "fish":
        return _fish(program, commands, default, shells)
    # With bashcompinit, zsh runs bash's completion functions.
    prologue = "autoload -U +X bashcompinit && bashcompinit\n" if shell == "zsh" else ""
    return prologue + _bash(program, commands, default, shells)


def _bash(program: str, commands: Commands, default: str, shells: Sequence[str]) -> str:
    function = f"_{program.replace('-', '_')}"
    words = dict.fromkeys(name.split()[0] for name in commands)
    offered = {name: [*map(_flag, options), *_GENERAL] for name, (_, options) in commands.items()}
    for first, second in (name.split() for name in commands if " " in name):
        offered[first].append(second)
    by_command = "\n".join(
        f"    {name}) words={shlex.quote(' '.join(offered[name]))} ;;"
        for name in commands
        if " " not in name and name != default
    )
    choices = "\n".join(
        f'    {_flag(option)}) COMPREPLY=($(compgen -W "{" ".join(option.choices)}" -- "$word")); return ;;'
        for option in ALL.values()
        if option.choices
    )
    values = "|".join(_flag(option) for option in ALL.values() if not (option.is_switch or option.choices))
    return f"""\
{function}() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} command={default} words each
  [[ $word == = ]] && word=
  [[ $before == = ]] && before=${{COMP_WORDS[COMP_CWORD-2]}}
  for each in "${{COMP_WORDS[@]:1:$((COMP_CWORD - 1))}}"; do
    case $each in {"|".join(words)}) command=$each ;; esac
  done
  COMPREPLY=()
  case $before in
{choices}
    {values}) return ;;  # -o default completes file names
    completion) COMPREPLY=($(compgen -W "{" ".join(shells)}" -- "$word")); return ;;
    help) COMPREPLY=($(compgen -W "{" ".join(words)}" -- "$word")); return ;;
  esac
  case $command in
{by_command}
    *) words={shlex.quote(" ".join([*words, *offered[default]]))} ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F {function} {program}
"""


def _fish(program: str, commands: Commands, default: str, shells: Sequence[str]) -> str:
    words = dict.fromkeys(name.split()[0] for name in commands)
    start = f"complete -c {program}"
    none = f"not __fish_seen_subcommand_from {' '.join(word for word in words if word != default)}"
    lines = [f"{start} -f", f"{start} -s h -l help", f"{start} -l version"]
    for name, (meaning, options) in commands.items():
        first, *more = name.split()
        behind = f"__fish_seen_subcommand_from {first}"
        if more:  # `check fleet`: its options are those of `fleet`
            lines.append(f"{start} -n '{behind}' -a {more[0]} -d {_quoted(meaning)}")
            continue
        lines.append(f"{start} -n __fish_use_subcommand -a {first} -d {_quoted(meaning)}")
        condition = none if name == default else behind
        lines += [f"{start} -n '{condition}' {_fish_option(option)}" for option in options]
    lines.append(f"{start} -n '__fish_seen_subcommand_from completion' -a '{' '.join(shells)}'")
    lines.append(f"{start} -n '__fish_seen_subcommand_from help' -a '{' '.join(words)}'")
    return "\n".join([*lines, ""])


def _fish_option(option: Option) -> str:
    words = ["-l", option.name.replace("_", "-"), "-d", _quoted(option.meaning)]
    if option.choices:
        words += ["-x", "-a", f"'{' '.join(option.choices)}'"]
    elif option.type is Path:
        words += ["-r", "-F"]
    elif not option.is_switch:
        words += ["-x"]
    return " ".join(words)


def _flag(option: Option) -> str:
    return flag(option.name)


def _quoted(text: str) -> str:
    """Return a text in single quotes, escaped for fish, whose escapes differ from other shells'."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
