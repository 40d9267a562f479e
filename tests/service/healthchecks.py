"""Healthchecks of whatever answers on a port, an exporter or not."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from exporter.options import HealthcheckOptions
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
def answering(answer: bytes) -> Iterator[int]:
    """Have somebody answer who is no exporter; nothing means never."""

    def serve() -> None:
        while True:
            try:
                connection, _ = sock.accept()
            except OSError:
                return
            with connection:
                connection.recv(1 << 16)
                connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as sock:
        if answer:
            thread = threading.Thread(target=serve)
            thread.start()
        try:
            yield sock.getsockname()[1]
        finally:
            sock.shutdown(socket.SHUT_RDWR)
            if answer:
                thread.join()
