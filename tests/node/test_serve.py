import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import bcrypt
import pytest

from exporter.addresses import derived_metrics_port
from tests.node.running import host, served
from tests.support.certificates import Authority
from tests.support.expositions import Exposition
from tests.support.waiting import eventually


def test_command_lines_choose(tmp_path: Path) -> None:
    with host(tmp_path / "chosen", tmp_path / "other", options=("--match=directory=.*chosen",)) as it:
        eventually(lambda: served(it, 1), "one worker")
        (worker,) = json.loads(it.get("/status.json")[1])["workers"]
        assert worker["directory"] == str(tmp_path / "chosen")


def test_a_host_without_workers_is_no_failure() -> None:
    with host() as it:
        eventually(lambda: served(it, 0), "an answer")
        assert it.get("/readyz") == (200, "ok\n")
        assert it.get("/metrics")[0] == 200


@pytest.mark.parametrize("option", ["--match=(", "--forget-after=never", "--max-series=0"])
def test_a_bad_option_is_one_error(option: str) -> None:
    command = [sys.executable, "-m", "exporter", "node", option]
    out = subprocess.run(command, capture_output=True, text=True, check=False)
    assert out.returncode == 2
    assert out.stderr.startswith(f"smg-exporter: error: {option.partition('=')[0]}: ")
    assert len(out.stderr.splitlines()) == 1


def test_each_worker_is_at_its_derived_port_too(tmp_path: Path) -> None:
    with host(tmp_path / "a", options=("--derived-ports",)) as it:
        eventually(lambda: served(it, 1), "one worker")
        (target,) = it.targets()
        address = target["labels"]["worker_addr"]
        port = derived_metrics_port(int(address.rpartition(":")[2]))
        text = eventually(lambda: it.get("/metrics", port)[1], "an answer there")
        assert Exposition(text).labels("answers_total") == [{"worker_addr": address}]
        assert it.get("/sd", port)[0] == 404


def test_a_derived_port_has_the_tls_and_users_of_the_node(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.issue("server")
    file = tmp_path / "web.yml"
    file.write_text(
        "tls_server_config: {cert_file: server.crt, key_file: server.key}\n"
        f"basic_auth_users: {{alice: {bcrypt.hashpw(b'secret', bcrypt.gensalt(4)).decode()}}}\n"
        "http_server_config: {headers: {X-Frame-Options: deny}}\n"
    )
    with host(tmp_path / "a", options=("--derived-ports", f"--web-config={file}")) as it:
        it.scheme = "https"
        it.client = urllib.request.build_opener(urllib.request.HTTPSHandler(context=authority.client()))
        it.client.addheaders = [("Authorization", "Basic YWxpY2U6c2VjcmV0")]
        eventually(lambda: served(it, 1), "one worker")
        port = derived_metrics_port(int(it.targets()[0]["labels"]["worker_addr"].rpartition(":")[2]))
        text = eventually(lambda: it.get("/metrics", port)[1], "an answer there")
        assert Exposition(text).values("answers_total") == [1]
        with it.client.open(f"https://127.0.0.1:{port}/metrics", timeout=10) as answer:
            assert answer.headers["X-Frame-Options"] == "deny"
        it.client.addheaders = []
        assert it.get("/metrics", port)[0] == 401
        it.scheme = "http"
        assert it.get("/metrics", port) == (0, ""), "nothing is served without TLS"
