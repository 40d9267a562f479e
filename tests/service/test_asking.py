"""Asking whoever listens on a port, in bounded time."""

import pytest

from exporter.service import asking
from exporter.service.asking import Answer
from tests.service.healthchecks import Ask, answering


@pytest.mark.parametrize(
    ("said", "status", "server", "body", "ours"),
    [
        (
            b"HTTP/1.1 503 No\r\nSERVER:  smg-exporter \r\n\r\nno\r\n\r\n",
            503,
            "smg-exporter",
            b"no\r\n\r\n",
            True,
        ),
        (b"HTTP/1.1 200 OK\r\nServer: smg-exporter/2\r\n\r\n", 200, "smg-exporter/2", b"", False),
        (b"HTTP/1.1 odd\r\n\r\n", 0, "", b"", False),
        (b"HTTP/1.1", 0, "", b"", False),
    ],
)
def test_an_answer(said: bytes, status: int, server: str, body: bytes, ours: bool) -> None:  # noqa: FBT001 - a table's column
    with answering(said) as port:
        answer = asking.ask("127.0.0.1", port, "/p")
    assert answer == Answer(f"http://127.0.0.1:{port}/p", status, server, body)
    assert answer.is_ours is ours


def test_what_is_no_http_is_not_healthy(ask: Ask) -> None:
    with answering(b"SSH-2.0") as port:
        code, line = ask(port)
    assert code == 1
    assert line.startswith(f"https://127.0.0.1:{port}/healthz: ")


def test_who_does_not_answer_is_not_waited_for(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "_PATIENCE", 0.1)
    with answering(b"") as port:
        assert ask(port) == (1, f"http://127.0.0.1:{port}/healthz: no answer within 0.1 s: not healthy")
