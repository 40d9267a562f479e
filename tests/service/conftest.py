"""What the tests of asking and of the healthcheck share."""

import pytest

from tests.service.healthchecks import Ask


@pytest.fixture(name="ask")
def _ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    return Ask(capsys)
