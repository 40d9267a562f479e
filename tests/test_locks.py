"""The locks hold what pyproject.toml asks for."""

import re
import tomllib

import pytest

from tests.support.daemon import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def locked(name: str) -> dict[str, str]:
    """Return the versions of a lock by package."""
    text = (ROOT / f"requirements{name}.lock").read_text("utf-8")
    pinned = dict(re.findall(r"^([\w-]+)==(\S+)", text, re.MULTILINE))
    assert text.count("--hash=") >= len(pinned) > 0
    return pinned


def test_the_package_is_built_with_what_is_locked() -> None:
    needed = PROJECT["build-system"]["requires"]
    assert set(needed) <= set(PROJECT["dependency-groups"]["build"])
    assert {re.split("[<>=]", requirement)[0] for requirement in needed} <= locked("-build").keys()


@pytest.mark.parametrize("requirement", PROJECT["project"]["dependencies"])
def test_the_lowest_versions_are_tested(requirement: str) -> None:
    name, _, lowest = requirement.partition(">=")
    assert re.fullmatch(rf"{re.escape(lowest)}(\.0)*", locked("-lowest")[name]), "make lock"
