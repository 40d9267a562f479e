"""What the checks of all daemons say of the port, and of where the metrics would be."""

from collections.abc import Mapping
from typing import Any

import pytest

from exporter.service.checking import check_port, urls
from exporter.web.listen import Endpoint
from tests.service.healthchecks import answering
from tests.support.daemon import free_port


def check(port: int) -> tuple[bool, str]:
    """Check a port of 127.0.0.1 for a daemon that serves what is called `it`."""

    def is_same(facts: Mapping[str, Any]) -> bool:
        return facts.get("serves") == "it"

    return check_port(Endpoint(("127.0.0.1",), port, "given"), is_same, "it")


def test_a_free_port() -> None:
    assert check(free_port()) == (True, "free")


@pytest.mark.parametrize(
    ("code", "server", "body", "holder"),
    [
        (200, "smg-exporter", '{"serves": "it"}', "the smg-exporter that serves it now"),
        (
            401,
            "smg-exporter",
            "no",
            "an smg-exporter that shows its status to its users only, so that check could not look closer",
        ),
        (200, "smg-exporter", '{"serves": "another"}', ""),
        (200, "smg-exporter", '["it"]', ""),
        (200, "smg-exporter", "no JSON", ""),
        (401, "nginx", "no", ""),
        (200, "nginx", '{"serves": "it"}', ""),
    ],
)
def test_a_port_that_is_held(code: int, server: str, body: str, holder: str) -> None:
    with answering(f"HTTP/1.1 {code} X\r\nServer: {server}\r\n\r\n{body}".encode()) as port:
        can_listen, line = check(port)
    assert can_listen is bool(holder)
    if holder:
        assert line == f"held by {holder}"
    else:
        assert line.endswith("it was given: choose another with --listen-port")


@pytest.mark.parametrize(
    ("hosts", "found"),
    [
        ((), ["http://0.0.0.0:7/m", "http://[::]:7/m"]),
        (("h", "::1"), ["http://h:7/m", "http://[::1]:7/m"]),
    ],
)
def test_where_the_metrics_would_be(hosts: tuple[str, ...], found: list[str]) -> None:
    assert list(urls(Endpoint(hosts, 7, ""), None, "/m")) == found
