"""Completion scripts: what the shells themselves make of them."""

import subprocess
from collections.abc import Callable

import pytest

from exporter import cli, completion
from exporter.options.commands import COMMANDS
from exporter.options.option import Option, described, flag
from tests.support.peers import program

FLEET = [flag(name) for name in described(COMMANDS["fleet"].options)]
CASES = [
    ("com", ["completion"]),
    ("--liv", ["--liveness"]),
    ("--liveness ", ["auto", "off", "on"]),
    ("--liveness o", ["off", "on"]),
    ("--ranks", []),
    ("demo --ra", ["--ranks"]),
    ("fleet --smg", [name for name in FLEET if name.startswith("--smg")]),
    ("dump --listen", []),
    ("check --smg", []),
    ("check fl", ["fleet"]),
    ("check no", ["node"]),
    ("check node --mat", ["--match"]),
    ("check fleet --smg", [name for name in FLEET if name.startswith("--smg")]),
    ("completion ", ["bash", "fish", "zsh"]),
    ("help ver", ["verify"]),
    ("--grpc-port ", []),
]


def run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=30)
    assert done.stderr == ""
    return done.stdout


def in_a_function(shell: str, line: str, *prologue: str) -> list[str]:
    """Return what the function that bash and zsh have makes of a line."""
    *words, last = f"smg-exporter {line}".split(" ")
    code = "\n".join(
        [
            *prologue,
            f"COMP_WORDS=({' '.join(words)} '{last}') COMP_CWORD={len(words)}",
            "_smg_exporter",
            'echo "${COMPREPLY[@]}"',
        ]
    )
    return sorted(run(program(shell), *["-f"] * (shell == "zsh"), "-c", code).split())


def bash(line: str) -> list[str]:
    return in_a_function("bash", line, cli._completion(["bash"]))


def zsh(line: str) -> list[str]:
    prologue = "autoload -Uz compinit && compinit -u -D", cli._completion(["zsh"]), "emulate -L sh"
    return in_a_function("zsh", line, *prologue)


def fish(line: str) -> list[str]:
    code = f"{cli._completion(['fish'])}\ncomplete -C 'smg-exporter {line}'"
    return sorted(each.split("\t")[0] for each in run(program("fish"), "-N", "-c", code).splitlines())


SHELLS = [bash, pytest.param(fish, marks=pytest.mark.peer)]


@pytest.mark.parametrize(("line", "offered"), CASES)
@pytest.mark.parametrize("shell", SHELLS)
def test_what_is_offered(shell: Callable[[str], list[str]], line: str, offered: list[str]) -> None:
    assert shell(line) == sorted(offered)


@pytest.mark.peer
@pytest.mark.parametrize(("line", "offered"), CASES)
def test_zsh_is_offered_the_same(line: str, offered: list[str]) -> None:
    assert {*offered} <= {*zsh(line)}, "it picks those that fit itself"


def test_bash_knows_values_behind_an_equals_sign() -> None:
    assert bash("--liveness = o") == ["off", "on"]  # as it splits --liveness=o


def test_bash_offers_the_second_word_of_any_command() -> None:
    commands: dict[str, tuple[str, list[Option]]] = {
        name: ("", []) for name in ("serve", "dump", "dump all", "all")
    }
    script = completion.script("bash", "smg-exporter", commands, "serve", ["bash"])
    assert in_a_function("bash", "dump a", script) == ["all"]
    assert in_a_function("bash", "all a", script) == []


@pytest.mark.peer
def test_fish_offers_files_where_a_file_is_meant() -> None:
    assert fish("dump --config LIC") == ["LICENSE"]


def test_every_option_is_in_every_script() -> None:
    for shell in cli.SHELLS:
        script = cli._completion([shell])
        for command in COMMANDS.values():
            for name in described(command.options):
                assert (f"-l {name.replace('_', '-')} " if shell == "fish" else flag(name)) in script
