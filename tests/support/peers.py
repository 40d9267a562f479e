"""Programs that are not ours: where they are missing a test is skipped, but in CI it fails."""

import os
import shutil

import pytest

_WAYS = {
    "bash": "Debian and Ubuntu have it in the package bash",
    "chromium": "Debian has it in the package chromium",
    "fish": "Debian and Ubuntu have it in the package fish",
    "gunicorn": "pip install -r requirements-peers.lock",
    "kubectl": "Debian and Ubuntu have it in the package kubernetes-client",
    "openssl": "Debian and Ubuntu have it in the package openssl",
    "prometheus": "Debian and Ubuntu have it in the package prometheus",
    "promtool": "Debian and Ubuntu have it in the package prometheus",
    "smg": "pip install -r requirements-peers.lock",
    "supervisorctl": "pip install -r requirements-peers.lock",
    "supervisord": "pip install -r requirements-peers.lock",
    "systemd-analyze": "Debian and Ubuntu have it in the package systemd",
    "systemd-sysusers": "Debian and Ubuntu have it in the package systemd",
    "uvicorn": "pip install -r requirements-peers.lock",
    "victoria-metrics": "Debian and Ubuntu have it in the package victoria-metrics",
    "zsh": "Debian and Ubuntu have it in the package zsh",
}
"""How to get each program."""


def program(name: str) -> str:
    """Return the path of a program, or end the test: skipped, or failed where the environment has CI."""
    path = shutil.which(name)
    if path is None:
        end = pytest.fail if os.environ.get("CI") else pytest.skip
        end(f"{name} is not installed: {_WAYS[name]}")
    return path
