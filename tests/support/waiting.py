"""Waiting for what comes, with a deadline; nothing in the tests sleeps blindly."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

DEADLINE = 15.0
"""Seconds after which a test that waits has failed."""

_POLL = 0.02


def eventually(look: Callable[[], T | None], what: str, within: float = DEADLINE) -> T:
    """Return what `look` gives, once it is true; fail when it is not `within` so many seconds."""
    deadline = time.monotonic() + within
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {within} s: {what}"
        time.sleep(_POLL)
    return found
