"""What Prometheus' own checker says of what `dump` prints."""

import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.support.daemon import run
from tests.support.peers import program

pytestmark = pytest.mark.peer

FAILED, LINTED = 1, 3
"""Its exit codes: the text cannot be read, or can be and has blemishes."""


def check_metrics(text: str) -> tuple[int, list[str]]:
    """Return promtool's exit code and lines."""
    result = subprocess.run(
        [program("promtool"), "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    return result.returncode, [*result.stdout.splitlines(), *result.stderr.splitlines()]


def beyond_names(lines: Iterable[str]) -> list[str]:
    """Return the lines without those on how SGLang names its metrics, which is not for us to change."""
    return [line for line in lines if not (line.startswith("sglang:") and " should not " in line)]


def test_a_recorded_worker_has_no_fault_but_its_names(recorded: dict[str, Path]) -> None:
    dump = run("dump", "--grpc-port=8001", f"--multiproc-dir={recorded['tp8']}", "--liveness=off")
    assert dump.returncode == 0
    code, lines = check_metrics(dump.stdout)
    assert code in {0, LINTED}, lines
    assert beyond_names(lines) == []


def test_it_would_find_an_interleaved_family() -> None:
    code, lines = check_metrics('# TYPE a gauge\na 1\n# TYPE b gauge\nb 1\n# TYPE a gauge\na{x="1"} 1\n')
    assert code == FAILED
    assert beyond_names(lines) != []
