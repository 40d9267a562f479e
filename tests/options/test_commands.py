"""All options together, and what may be meant by another name."""

import pickle
import subprocess
import sys
from dataclasses import fields

import pytest

from exporter.options.commands import ALL, COMMANDS, no_such_option
from exporter.options.option import GROUPS, flag
from exporter.options.values import Size
from exporter.options.worker import ServeOptions


def test_each_option_is_described_once() -> None:
    of_all = [each for command in COMMANDS.values() for each in fields(command.options)]
    assert len({id(each.metadata["option"]) for each in of_all}) == len({each.name for each in of_all})
    assert {each.name for each in of_all} == ALL.keys()
    assert {option.group for option in ALL.values()} == set(GROUPS)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("grpc_prot", "--grpc-port"),
        ("--grpc-prot", "--grpc-port"),
        ("port", "--listen-port"),
        ("host", "--listen-host"),
    ],
)
def test_what_may_be_meant(name: str, meant: str) -> None:
    assert no_such_option(name, flag) == f"no such option; did you mean {meant}?"


def test_nothing_near_is_meant() -> None:
    assert no_such_option("zzz") == "no such option"


def test_they_can_be_sent_to_another_process() -> None:
    options = ServeOptions(grpc_port=8001, label={"a": "1"}, max_file_size=Size(1 << 20))
    again = pickle.loads(pickle.dumps(options))  # noqa: S301 - our own
    assert again == options
    assert str(again.max_file_size) == "1MiB"


def test_they_need_no_pydantic() -> None:
    code = (
        "import sys, exporter.options.commands; print([name for name in sys.modules if 'pydantic' in name])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
