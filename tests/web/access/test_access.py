"""`--web-config` from the command line to the connection."""

import http.client
from pathlib import Path

import bcrypt
import pytest

from tests.support.certificates import Authority
from tests.support.daemon import Daemon, check_log, daemon, run
from tests.support.waiting import DEADLINE, eventually

USERS = f"basic_auth_users: {{alice: {bcrypt.hashpw(b'secret', bcrypt.gensalt(4)).decode()}}}\n"
TLS = "tls_server_config: {cert_file: server.crt, key_file: server.key}\n"


@pytest.fixture(name="directory")
def _directory(tmp_path: Path) -> Path:
    directory = tmp_path / "worker"
    directory.mkdir()
    return directory


@pytest.fixture(name="authority")
def _authority(tmp_path: Path) -> Authority:
    authority = Authority(tmp_path)
    authority.issue("server")
    return authority


class Client:
    """One connection to the daemon, kept."""

    def __init__(self, target: Daemon, authority: Authority) -> None:
        self.connection = http.client.HTTPSConnection(
            target.host, target.port, timeout=DEADLINE, context=authority.client()
        )
        self.connection.connect()
        self.connection.auto_open = 0
        self.certificate = self.connection.sock.getpeercert()

    def get(self, path: str, authorization: str = "") -> int:
        self.connection.request("GET", path, headers={"Authorization": authorization})
        response = self.connection.getresponse()
        response.read()
        return response.status

    def close(self) -> None:
        self.connection.close()


ALICE = "Basic YWxpY2U6c2VjcmV0"


def test_a_daemon_with_tls_and_users_follows_its_files(
    tmp_path: Path, directory: Path, authority: Authority
) -> None:
    file = tmp_path / "web.yml"
    file.write_text(TLS + USERS)
    with daemon(directory, f"--web-config={file}") as it:
        assert it.said(f"url=https://127.0.0.1:{it.port}/metrics")
        kept = Client(it, authority)
        assert (kept.get("/metrics"), kept.get("/metrics", ALICE), kept.get("/healthz")) == (401, 200, 401)
        authority.issue("server")
        eventually(lambda: it.said("web configuration reloaded"), "the new certificate is taken up")
        renewed = Client(it, authority)
        assert renewed.certificate != kept.certificate
        file.write_text(TLS + USERS.replace("alice", "a:b"))
        eventually(lambda: it.said("web configuration reload failed"), "the mistake is told")
        assert (kept.get("/metrics", ALICE), renewed.get("/metrics", ALICE)) == (200, 200)
        file.write_text(TLS)
        eventually(lambda: kept.get("/metrics") == 200, "everybody is let in, on standing connections too")
        kept.close()
        renewed.close()
    assert "secret" not in "".join(it.log)
    check_log(it.log)


@pytest.mark.parametrize("command", ["serve", "check"])
def test_a_mistake_ends_it_with_one_line(tmp_path: Path, directory: Path, command: str) -> None:
    file = tmp_path / "web.yml"
    file.write_text("tls_server_config: {cert_file: absent.crt, key_file: absent.key}")
    result = run(command, "--grpc-port=8001", f"--multiproc-dir={directory}", f"--web-config={file}")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == (
        f"smg-exporter: error: --web-config: {file}: tls_server_config.cert_file: "
        f"'{tmp_path / 'absent.crt'}' is not readable: No such file or directory\n"
    )


@pytest.mark.usefixtures("authority")
def test_check_says_what_would_be_served(tmp_path: Path, directory: Path) -> None:
    file = tmp_path / "web.yml"
    file.write_text(TLS + USERS)
    words = ["--grpc-port=8001", f"--multiproc-dir={directory}", f"--web-config={file}"]
    assert "url         https://0.0.0.0:18001/metrics\n" in run("check", *words).stdout
