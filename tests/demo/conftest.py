"""What the demo's tests share."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool], str], None]:
    """Give a function that returns once a condition holds, and fails when it does not in time."""
    timeout = 20.0

    def wait(condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f"not within {timeout} s: {what}"
            time.sleep(0.02)

    return wait


@pytest.fixture
def running() -> Callable[[int], bool]:
    """Give a function that says whether a process exists and is no zombie."""

    def is_running(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except (FileNotFoundError, ProcessLookupError):
            return False

    return is_running
