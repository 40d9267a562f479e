"""A worker's directory, and the exporter on it, for tests in this process."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.worker.assembled import Assembled


@pytest.fixture(name="assemble")
def _assemble(tmp_path: Path) -> Callable[..., Assembled]:
    def assemble(**options: str | list[str] | bool) -> Assembled:
        return Assembled(tmp_path / "worker", **options)

    (tmp_path / "worker").mkdir()
    return assemble


@pytest.fixture(name="directory")
def _directory(tmp_path: Path) -> Path:
    return tmp_path / "worker"
