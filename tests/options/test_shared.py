"""Where an exporter listens, which port that is, and as which user it is asked."""

from pathlib import Path

import pytest

from exporter.errors import SettingsError
from exporter.options.shared import Credentials, DerivedPort


@pytest.mark.parametrize(
    ("options", "port", "rule"),
    [
        (DerivedPort(grpc_port=8001), 18001, "derived from --grpc-port 8001 (+10000)"),
        (DerivedPort(grpc_port=60051), 50051, "derived from --grpc-port 60051 (-10000)"),
        (DerivedPort(grpc_port=8001, listen_port=9100), 9100, "chosen by --listen-port"),
        (DerivedPort(listen_port=9100), 9100, "chosen by --listen-port"),
    ],
)
def test_the_port_and_its_rule(options: DerivedPort, port: int, rule: str) -> None:
    assert (options.metrics_port, options.port_rule) == (port, rule)


def test_what_is_derived_from_nothing_says_so() -> None:
    with pytest.raises(SettingsError, match=r"--grpc-port: required; .*; or give --listen-port"):
        _ = DerivedPort().metrics_port


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (Credentials(), []),
        (Credentials(user="u"), ["user"]),
        (Credentials(password_file=Path("f")), ["password_file"]),
        (Credentials(user="u", password_file=Path("f")), []),
    ],
)
def test_what_is_missing_or_contradicts(options: Credentials, names: list[str]) -> None:
    assert [name for name, _ in options.problems()] == names
