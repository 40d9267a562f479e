"""Options of the commands, as tests give them."""

from collections.abc import Mapping
from typing import Any

import pytest

from exporter.errors import SettingsError
from exporter.options.demo import DemoOptions
from exporter.options.healthcheck import HealthcheckOptions
from exporter.options.option import Options
from exporter.options.sources import load
from exporter.options.worker import DumpOptions, ServeOptions, VerifyOptions

WORKER: Mapping[str, str] = {"grpc_port": "8001", "multiproc_dir": "/tmp/prom"}  # noqa: S108 - only named


def setenv(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def problem(command_line: Mapping[str, Any], options: type[Options] = ServeOptions) -> str:
    with pytest.raises(SettingsError) as caught:
        load(options, command_line)
    (line,) = str(caught.value).splitlines()
    return line


OF_OTHERS: Mapping[str, type[Options]] = {
    "ranks": DemoOptions,
    "workers": DemoOptions,
    "speed": DemoOptions,
    "rounds": VerifyOptions,
    "format": DumpOptions,
    "user": HealthcheckOptions,
}
"""Commands of options that `serve` has not."""


def given(name: str, value: object) -> tuple[type[Options], Mapping[str, Any]]:
    """Return options that have one of that name, and a command line that gives it and whatever is needed."""
    options = OF_OTHERS.get(name, ServeOptions)
    return options, {key: WORKER[key] for key in WORKER if hasattr(options, key)} | {name: value}
