"""A real Prometheus that scrapes over TLS with a password, and its own checker on our web configuration files."""

import http.client
import re
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from tests.support.certificates import Authority, encrypt_key
from tests.support.daemon import daemon
from tests.support.peers import program
from tests.support.scrapers import prometheus
from tests.support.waiting import eventually
from tests.support.writers import writer

pytestmark = pytest.mark.peer

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "config" / "web-config.yml"
PASSWORD = "change me"  # noqa: S105 - the example's
VERDICTS = {
    file: file.read_text().splitlines()[1].removeprefix("# promtool: ")
    for file in sorted((ROOT / "tests" / "web" / "access" / "webconfigs").glob("*.yml"))
}
MISTAKES = [file for file, verdict in VERDICTS.items() if verdict != "depends"]  # on its version


@pytest.fixture(name="files")
def _files(tmp_path: Path) -> Path:
    """Give a directory of the files that web configurations name."""
    authority = Authority(tmp_path)
    for name in ("server", "other", "prometheus"):
        authority.issue(name)
    encrypt_key(tmp_path / "server.key", tmp_path / "encrypted.key")
    return tmp_path


def check_web_config(file: Path) -> "subprocess.CompletedProcess[str]":
    command = [program("promtool"), "check", "web-config", str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_promtool_takes_the_example_with_the_certificates_that_the_document_makes(tmp_path: Path) -> None:
    program("openssl")
    program("promtool")
    shutil.copy(EXAMPLE, tmp_path)
    text = (ROOT / "docs" / "deploy.md").read_text("utf-8")
    (commands,) = re.findall(r"^```sh\n(openssl req .*?)^```", text, re.MULTILINE | re.DOTALL)
    assert f"promtool check web-config {EXAMPLE.name}\n" in commands
    result = subprocess.run(
        ["sh", "-e", "-c", commands], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    worker = tmp_path / "worker"
    worker.mkdir()
    trust = ssl.create_default_context(cafile=tmp_path / "server.crt")
    with daemon(worker, f"--web-config={tmp_path / EXAMPLE.name}") as exporter:
        connection = http.client.HTTPSConnection("localhost", exporter.port, timeout=10, context=trust)
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 401, (
            "the certificate is trusted, and a password is asked for"
        )
        connection.close()


@pytest.mark.parametrize("mistake", MISTAKES, ids=[file.stem for file in MISTAKES])
def test_promtool_refuses_what_the_files_say_it_does(files: Path, mistake: Path) -> None:
    file = files / mistake.name
    file.write_text(mistake.read_text())
    assert check_web_config(file).returncode == {"refused": 1, "taken": 0}[VERDICTS[mistake]]


def test_prometheus_scrapes_over_tls_with_a_password_and_a_certificate(files: Path) -> None:
    program("prometheus")
    file = files / "web.yml"
    requirement = (
        "client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n  min_version: TLS13"
    )
    file.write_text(EXAMPLE.read_text().replace("min_version: TLS12", requirement))
    trust = {"ca_file": str(files / "ca.crt")}
    certificate = {"cert_file": str(files / "prometheus.crt"), "key_file": str(files / "prometheus.key")}
    user = {"username": "prometheus", "password": PASSWORD}
    jobs = {
        "good": {"scheme": "https", "tls_config": {**trust, **certificate}, "basic_auth": user},
        "nobody": {"scheme": "https", "tls_config": {**trust, **certificate}},
        "stranger": {"scheme": "https", "tls_config": trust, "basic_auth": user},
        "unencrypted": {"scheme": "http", "basic_auth": user},
    }
    worker = files / "worker"
    worker.mkdir()
    with (
        writer(worker) as process,
        daemon(worker, f"--web-config={file}") as exporter,
        prometheus(files, dict.fromkeys(jobs, exporter), **jobs) as it,
    ):
        process.set("sglang:load", 5)
        eventually(lambda: it.query('sglang:load{job="good"} == 5'), "a scrape over TLS")
        eventually(lambda: len(it.query("up == 0")) == len(jobs) - 1, "the others are refused")
        targets = it.get("targets")["activeTargets"]
        errors = {target["labels"]["job"]: target["lastError"] for target in targets}
    assert errors["good"] == ""
    assert "401" in errors["nobody"]
    assert errors["stranger"]  # EOF: asyncio sends no alert when a handshake fails
    assert errors["unencrypted"]
