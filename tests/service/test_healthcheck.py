"""`healthcheck`: what is alive, and what is not; real daemons, TLS and users."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import bcrypt
import pytest

from exporter.options import HealthcheckOptions
from exporter.service import asking
from exporter.service.healthcheck import healthcheck
from tests.support.certificates import Authority
from tests.support.daemon import Daemon, daemon, free_port, run

USERS = f"basic_auth_users: {{alice: {bcrypt.hashpw(b'secret', bcrypt.gensalt(4)).decode()}}}\n"
TLS = "cert_file: server.crt, key_file: server.key"
CLIENTS = f"{TLS}, client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.crt"


@pytest.fixture(name="password_file")
def _password_file(tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.write_text("secret\n")
    return file


@pytest.fixture(name="ask")
def _ask(capsys: pytest.CaptureFixture[str]) -> "Ask":
    return Ask(capsys)


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
def secured(tmp_path: Path, text: str) -> Iterator[Daemon]:
    """Run a daemon with a web configuration."""
    Authority(tmp_path).issue("server")
    file = tmp_path / "web.yml"
    file.write_text(text)
    with daemon(tmp_path / "worker", f"--web-config={file}") as it:
        yield it


def a_tls_server(tmp_path: Path, version: ssl.TLSVersion) -> ssl.SSLContext:
    Authority(tmp_path).issue("server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    context.minimum_version = context.maximum_version = version
    return context


def test_a_plain_one(tmp_path: Path, ask: Ask) -> None:
    with daemon(tmp_path / "worker") as it:
        assert ask(it.port) == (0, f"{it.url}/healthz: 200, ok: it serves")
        port = it.port
    assert ask(port) == (1, f"http://127.0.0.1:{port}/healthz: connection refused: not healthy")


def test_over_tls(tmp_path: Path, ask: Ask) -> None:
    with secured(tmp_path, f"tls_server_config: {{{TLS}}}\n") as it:
        assert ask(it.port) == (0, f"https://127.0.0.1:{it.port}/healthz: 200, ok: it serves")


def test_with_users(tmp_path: Path, ask: Ask, password_file: Path) -> None:
    with secured(tmp_path, f"tls_server_config: {{{TLS}}}\n{USERS}") as it:
        url = f"https://127.0.0.1:{it.port}/healthz"
        refused = f"{url}: 401, a user name and password are required"
        assert ask(it.port) == (0, f"{refused}: it serves"), "whoever refuses lives"
        assert ask(it.port, "alice", password_file) == (0, f"{url}: 200, ok: it serves")
        assert ask(it.port, "bob", password_file) == (1, f"{refused}: not healthy")


@pytest.mark.parametrize("version", ["TLS12", "TLS13"])
def test_a_certificate_that_we_have_not(tmp_path: Path, ask: Ask, password_file: Path, version: str) -> None:
    text = f"tls_server_config: {{{CLIENTS}, min_version: {version}, max_version: {version}}}\n"
    with secured(tmp_path, text) as it:
        refused = f"https://127.0.0.1:{it.port}/healthz: the server requires a client certificate"
        assert ask(it.port) == (0, f"{refused}: it serves")
        assert ask(it.port, "alice", password_file) == (1, f"{refused}: not healthy")


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


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (b"HTTP/1.1 200 OK\r\nServer: nginx\r\n\r\nok", "answered by nginx, not by smg-exporter"),
        (b"HTTP/1.0\r\n\r\n", "answered by an unknown server, not by smg-exporter"),
        (b"HTTP/1.1 503 No\r\nServer: smg-exporter\r\n\r\nno\x1b", "503, no\\x1b"),
    ],
)
def test_somebody_else_is_not_healthy(ask: Ask, answer: bytes, found: str) -> None:
    with answering(answer) as port:
        assert ask(port) == (1, f"http://127.0.0.1:{port}/healthz: {found}: not healthy")


def test_what_is_no_http_is_not_healthy(ask: Ask) -> None:
    with answering(b"SSH-2.0") as port:
        code, line = ask(port)
    assert code == 1
    assert line.startswith(f"https://127.0.0.1:{port}/healthz: ")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_tls_server_that_hangs_up_is_not_healthy(tmp_path: Path, ask: Ask, version: ssl.TLSVersion) -> None:
    with answering(b"", a_tls_server(tmp_path, version)) as port:
        code, line = ask(port)
    assert code == 1
    assert line.startswith(f"https://127.0.0.1:{port}/healthz: ")


REFUSAL = b"HTTP/1.1 401 No\r\nServer: %s\r\n\r\nno"


def test_a_password_is_sent_once_it_is_asked_for(ask: Ask, password_file: Path) -> None:
    heard: list[bytes] = []
    with answering(REFUSAL % b"smg-exporter", heard=heard) as port:
        assert ask(port, "alice", password_file)[0] == 1
    assert [b"Authorization: " in request for request in heard] == [False, True]


@pytest.mark.parametrize(
    "answer", [REFUSAL % b"nginx", b"HTTP/1.1 200 OK\r\nServer: smg-exporter\r\n\r\nok", b"SSH-2.0"]
)
def test_a_password_is_sent_to_nobody_else(ask: Ask, password_file: Path, answer: bytes) -> None:
    heard: list[bytes] = []
    with answering(answer, heard=heard) as port:
        ask(port, "alice", password_file)
    assert heard
    assert not any(b"Authorization: " in request for request in heard)


def test_who_does_not_answer_is_not_waited_for(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "_PATIENCE", 0.1)
    with answering(b"") as port:
        assert ask(port) == (1, f"http://127.0.0.1:{port}/healthz: no answer within 0.1 s: not healthy")


def test_as_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with daemon(tmp_path / "worker") as it:
        monkeypatch.setenv("SMG_EXPORTER_LISTEN_PORT", str(it.port))
        result = run("healthcheck")
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout.endswith(f":{it.port}/healthz: 200, ok: it serves\n")


def test_a_password_file_that_is_not_there() -> None:
    result = run("healthcheck", "--user=u", "--password-file=/nowhere", f"--listen-port={free_port()}")
    assert result.returncode == 2
    assert result.stderr == (
        "smg-exporter: error: --password-file: '/nowhere' is not readable: No such file or directory\n"
    )
