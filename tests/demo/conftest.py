"""What the demo's tests share."""

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def running() -> Callable[[int], bool]:
    """Give a function that says whether a process exists and is no zombie."""

    def is_running(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except (FileNotFoundError, ProcessLookupError):
            return False

    return is_running
