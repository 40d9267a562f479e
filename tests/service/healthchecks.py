"""Healthchecks of whatever answers on a port, an exporter or not."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from exporter.options.healthcheck import HealthcheckOptions
from exporter.service.healthcheck import healthcheck


class Ask:
    """Runs `healthcheck` on a port of 127.0.0.1."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, port: int, user: str | None = None, file: Path | None = None) -> tuple[int, str]:
        """Return the exit code, and the only line."""
        options = HealthcheckOptions(
            listen_host=("127.0.0.1",), listen_port=port, user=user, password_file=file
        )
        code = healthcheck(options)
        out, err = self._capsys.readouterr()
        (line,) = out.splitlines()
        assert err == ""
        return code, line


@contextmanager
def answering(
    answer: bytes, tls: ssl.SSLContext | None = None, heard: list[bytes] | None = None
) -> Iterator[int]:
    """Have somebody answer who is no exporter; nothing means never, or, over TLS, that he hangs up."""

    def serve() -> None:
        while True:
            try:
                connection, _ = sock.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                talk = tls.wrap_socket(connection, server_side=True) if tls else connection
                with talk:
                    request = talk.recv(1 << 16)
                    talk.sendall(answer)
                    if heard is not None:
                        heard.append(request)

    with socket.create_server(("127.0.0.1", 0)) as sock:
        if answer or tls:
            thread = threading.Thread(target=serve)
            thread.start()
        try:
            yield sock.getsockname()[1]
        finally:
            sock.shutdown(socket.SHUT_RDWR)
            if answer or tls:
                thread.join()
