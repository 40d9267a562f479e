"""What promtool says of the example configurations for a fleet."""

import subprocess
from pathlib import Path

import pytest

from tests.support.peers import program

pytestmark = pytest.mark.peer

FILES = sorted((Path(__file__).parents[2] / "config" / "prometheus").glob("fleet-*.yml"))


def test_there_are_examples() -> None:
    assert len(FILES) == 3


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_promtool_accepts_the_example(file: Path) -> None:
    agent = ["--agent"] if "agent" in file.name else []
    result = subprocess.run(
        [program("promtool"), "check", "config", *agent, str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
