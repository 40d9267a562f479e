"""`top` as a command: once, as JSON, in a real terminal, and what it needs."""

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest

from exporter.addresses import NODE_PORT
from exporter.options.top import TopOptions
from exporter.top import command
from tests.support.certificates import Authority
from tests.support.daemon import GRPC_PORT, ROOT, Daemon, daemon, free_port, run
from tests.support.waiting import DEADLINE

WORKER = f"grpc://127.0.0.1:{GRPC_PORT}"


@pytest.fixture(scope="module", name="exporter")
def _exporter(recorded: dict[str, Path]) -> Iterator[Daemon]:
    with daemon(recorded["tp8"], "--liveness=off") as it:
        yield it


def test_once_prints_a_table_and_says_over_how_long(exporter: Daemon) -> None:
    done = run("top", exporter.url, "--once", "--window=1")
    assert (done.returncode, done.stderr) == (0, "")
    told, titles, line = done.stdout.splitlines()
    assert told.startswith("Rates and percentiles over 1 s, between two reads. RUN, QUEUE:")
    assert titles.split()[:4] == ["WORKER↑", "STATE", "RUN", "QUEUE"]
    assert line.split()[:2] == [WORKER, "?"], "its liveness is off"


def test_json_is_the_view(exporter: Daemon) -> None:
    done = run("top", exporter.url, "--json", "--window=1")
    assert (done.returncode, done.stderr) == (0, "")
    view = json.loads(done.stdout)
    assert view["window_seconds"] == 1
    (worker,) = view["workers"]
    assert worker["worker_addr"] == WORKER
    assert worker["engine"] == "sglang"
    assert worker["requests"]["per_second"] == 0
    assert len(worker["ranks"]) == 8
    assert 1 <= worker["window_seconds"] < 5


def test_the_exporter_of_this_machine_is_found_by_its_port(exporter: Daemon) -> None:
    done = run("top", f"--listen-port={exporter.port}", "--listen-host=127.0.0.1", "--json", "--window=1")
    assert json.loads(done.stdout)["workers"][0]["worker_addr"] == WORKER


def test_one_that_cannot_be_read_is_told_beside_the_others(exporter: Daemon) -> None:
    gone = f"http://127.0.0.1:{free_port()}"
    done = run("top", gone, exporter.url, "--once", "--window=1")
    assert done.returncode == 0
    assert [line.split()[:2] for line in done.stdout.splitlines()[2:]] == [[WORKER, "?"], [gone, "DOWN"]]
    assert "cannot connect: Connection refused" in done.stdout
    done = run("top", gone, "--once", "--window=1")
    assert done.returncode == 1


def test_it_knows_tls_and_users(recorded: dict[str, Path], tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.issue("server")
    (tmp_path / "password").write_text("secret\n")
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    config = tmp_path / "web.yml"
    config.write_text(
        f"tls_server_config: {{cert_file: server.crt, key_file: server.key}}\nbasic_auth_users: {{alice: {hashed}}}\n"
    )
    user = ["--user=alice", f"--password-file={tmp_path / 'password'}", "--json", "--window=1"]
    with daemon(recorded["tp1"], "--liveness=off", f"--web-config={config}") as it:
        url = f"https://127.0.0.1:{it.port}"
        trusting = run("top", url, f"--target-ca-file={authority.file}", *user)
        local = run("top", f"--listen-port={it.port}", "--listen-host=127.0.0.1", *user)
        stranger = run("top", url, *user)
        nobody = run("top", url, f"--target-ca-file={authority.file}", *user[2:])
    for done in (trusting, local):
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(done.stdout)["workers"][0]["worker_addr"] == WORKER
    assert "not trusted" in json.loads(stranger.stdout)["workers"][0]["problem"]
    assert json.loads(nobody.stdout)["workers"][0]["problem"] == "answered 401"


def test_without_a_url_it_asks_the_workers_exporter_else_the_node() -> None:
    assert TopOptions(grpc_port=8001).metrics_port == 18001
    assert TopOptions(listen_port=9400).metrics_port == 9400
    assert TopOptions().metrics_port == NODE_PORT


def test_without_textual_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "find_spec", lambda _: None)
    assert command.top(TopOptions(url=("http://h/metrics",))) == 1
    assert capsys.readouterr().err == (
        "smg-exporter: error: top needs Textual: pip install 'smg-exporter[top]'; --once and --json do without it\n"
    )


def test_without_a_terminal_it_says_so(exporter: Daemon) -> None:
    done = run("top", exporter.url)
    assert (done.returncode, done.stderr) == (
        1,
        "smg-exporter: error: top needs a terminal; --once and --json do without one\n",
    )


class Terminal:
    """A program in a terminal of 80 x 24 characters."""

    def __init__(self, *words: str) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "exporter", *words],
            cwd=ROOT,
            env={**os.environ, "TERM": "xterm-256color"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self._seen = b""

    def until(self, text: str) -> None:
        """Wait until the program has written a text."""
        deadline = time.monotonic() + DEADLINE
        while text.encode() not in self._seen:
            ready, _, _ = select.select([self._master], [], [], deadline - time.monotonic())
            assert ready, self._seen.decode(errors="replace")
            self._seen += os.read(self._master, 1 << 16)
        self._seen = b""

    def press(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def end(self) -> int:
        """Read to the end, and return the exit code."""
        deadline = time.monotonic() + DEADLINE
        while self.popen.poll() is None:
            assert time.monotonic() < deadline
            if select.select([self._master], [], [], 0.1)[0]:
                try:
                    os.read(self._master, 1 << 16)
                except OSError:  # the terminal is closed
                    break
        return self.popen.wait(DEADLINE)

    def close(self) -> None:
        self.popen.kill()
        self.popen.wait()
        os.close(self._master)


@pytest.fixture(name="terminal")
def _terminal(exporter: Daemon) -> Iterator[Terminal]:
    it = Terminal("top", exporter.url)
    yield it
    it.close()


def test_in_a_terminal_it_shows_the_worker_until_q(terminal: Terminal) -> None:
    terminal.until("latency")
    terminal.press("\x1b")
    terminal.until("WORKER")
    terminal.press("q")
    assert terminal.end() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_leaves_the_terminal_as_it_was(
    terminal: Terminal, number: signal.Signals
) -> None:
    terminal.until("latency")
    terminal.popen.send_signal(number)
    terminal.until("\x1b[?1049l")  # back from the alternate screen
    assert terminal.end() == 0
