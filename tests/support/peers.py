"""Programs that are not ours: where they are missing a test is skipped, but in CI it fails."""

import os
import shutil

import pytest


def program(name: str, package: str = "prometheus") -> str:
    """Return the path of a program, or end the test: skipped, or failed where the environment has CI."""
    path = shutil.which(name)
    if path is None:
        end = pytest.fail if os.environ.get("CI") else pytest.skip
        end(f"{name} is not installed; Debian and Ubuntu have it in the package {package}")
    return path
