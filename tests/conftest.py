"""What the tests of all parts share: recorded directories, the golden flag, how long hypothesis searches."""

import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

settings.register_profile(
    "exporter",
    deadline=None,  # a busy machine is no fault
    max_examples=60,
    derandomize="CI" in os.environ,
    phases=set(Phase) - {Phase.explain},  # which takes minutes where a test writes files
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("exporter")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="rewrite what the golden cases expect with what they give",
    )


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Give the recorded worker directories by name. They are shared: copy one to change it."""
    root = tmp_path_factory.mktemp("recorded")
    archives = sorted((Path(__file__).parent / "data").glob("*.tar.xz"))
    for archive in archives:
        with tarfile.open(archive) as tar:
            tar.extractall(root, filter="data")
    return {directory.name: directory for directory in root.iterdir()}
