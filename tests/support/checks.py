"""Runs of `check`."""

from collections.abc import Callable

import pytest


class Checks:
    """Runs a `check`, and keeps the lines that it prints, without their first word, by that word."""

    def __init__(self, capsys: pytest.CaptureFixture[str], check: Callable[..., int]) -> None:
        self._capsys = capsys
        self._check = check

    def run(self, *given: object, **options: object) -> tuple[int, dict[str, list[str]]]:
        """Call the check with these arguments; return its exit code, and the lines."""
        code = self._check(*given, **options)
        out, err = self._capsys.readouterr()
        assert err == ""
        return code, by_first_word(out)


def by_first_word(out: str) -> dict[str, list[str]]:
    """Return the lines that a check prints, without their first word, by that word."""
    said: dict[str, list[str]] = {}
    for line in out.splitlines():
        said.setdefault(line[:12].strip(), []).append(line[12:])
    return said
