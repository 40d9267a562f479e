"""Try a wheel as its users have it: `python tests/deploy/try_wheel.py WHEEL`, which `make dist` runs with each Python.

It is installed into a clean environment of this Python, with what is locked, and each command is run there, in a folder
without any file of ours. Only the standard library is used, for there is nothing else.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from signal import SIGTERM
from urllib.request import urlopen

ROOT = Path(__file__).parents[2]
DEADLINE = 60.0
"""Seconds for a command to end, and for a daemon to be healthy or to stop."""
WORKER_PORT, SERVE_PORT, FLEET_PORT, NODE_PORT = 29801, 29802, 29803, 29804


class Installed:
    """The program in an environment of its own."""

    def __init__(self, directory: Path, wheel: Path) -> None:
        self._directory = directory
        self.tried: set[str] = set()
        venv.create(directory / "env", with_pip=True)
        pip = ["-m", "pip", "--disable-pip-version-check", "--quiet"]
        lock = str(ROOT / "requirements.lock")
        self._python(*pip, "install", "--require-hashes", "--only-binary=:all:", "-r", lock)
        self._python(*pip, "install", "--no-deps", str(wheel))
        self._python(*pip, "check")

    @property
    def commands(self) -> set[str]:
        """All commands that there are."""
        lines = self._python(
            "-c", "from exporter.cli import *; print(*COMMANDS, *OTHERS, sep='\\n')"
        ).splitlines()
        return {re.sub(r" \[?[A-Z]+\]?", "", line) for line in lines}  # without what stands for an argument

    def run(self, command: str, *words: str) -> str:
        """Return what a command prints that ends by itself, well."""
        self.tried.add(command)
        return self._run([self._bin("smg-exporter"), *command.split(), *words])

    @contextmanager
    def daemon(self, command: str, port: int, *words: str) -> Iterator[None]:
        """Run a daemon that listens on a port; it is healthy in the block, and ends well after it."""
        self.tried.add(command)
        where = ["--listen-host=127.0.0.1", f"--listen-port={port}", "--log-level=warning"]
        line = [self._bin("smg-exporter"), command, *where, *words]
        environment = os.environ | {"TMPDIR": str(self._directory)}  # for what one leaves that is killed
        with subprocess.Popen(line, cwd=self._directory, env=environment, stdout=subprocess.DEVNULL) as popen:
            try:
                self._until_healthy(port, popen)
                yield
                popen.send_signal(SIGTERM)
                assert popen.wait(DEADLINE) == 0, command
            finally:
                popen.kill()

    def _until_healthy(self, port: int, popen: "subprocess.Popen[bytes]") -> None:
        """Ask, by the program's own command, until the answer is yes."""
        self.tried.add("healthcheck")
        deadline = time.monotonic() + DEADLINE
        question = [self._bin("smg-exporter"), "healthcheck", f"--listen-port={port}"]
        while subprocess.run(question, capture_output=True, check=False).returncode != 0:
            assert popen.poll() is None, "it ended"
            assert time.monotonic() < deadline, "it is not healthy"

    def _python(self, *words: str) -> str:
        return self._run([self._bin("python"), *words])

    def _run(self, line: Sequence[str]) -> str:
        result = subprocess.run(
            line, cwd=self._directory, capture_output=True, text=True, timeout=10 * DEADLINE, check=False
        )
        assert result.returncode == 0, f"{line}: {result.stdout}{result.stderr}"
        return result.stdout

    def _bin(self, name: str) -> str:
        return str(self._directory / "env" / "bin" / name)


def try_all(it: Installed) -> None:
    """Run each command, on the demo's worker, and look at what some of them say."""
    assert "--grpc-port" in it.run("help", "serve")
    assert "smg-exporter" in it.run("completion", "bash")
    with it.daemon("demo", WORKER_PORT, "--ranks=1"):
        directory = json.loads(fetch(WORKER_PORT, "/status.json"))["directory"]
        worker = ["--grpc-port=8001", f"--multiproc-dir={directory}"]
        assert "2 live" in it.run("check", *worker, f"--listen-port={SERVE_PORT}")
        assert "\nsglang:" in it.run("dump", *worker)
        assert ": equal" in it.run("verify", f"--multiproc-dir={directory}")
        with it.daemon("serve", SERVE_PORT, *worker):
            assert "\nsglang:" in fetch(SERVE_PORT, "/metrics")
            assert "grpc://127.0.0.1:8001" in it.run(
                "top", f"--listen-port={SERVE_PORT}", "--once", "--window=1"
            )
        fleet = [f"--worker=grpc://127.0.0.1:8001=http://127.0.0.1:{WORKER_PORT}/metrics"]
        assert "targets     1" in it.run("check fleet", *fleet, f"--listen-port={FLEET_PORT}")
        with it.daemon("fleet", FLEET_PORT, *fleet):
            assert "\nsglang:" in fetch(FLEET_PORT, "/engine_metrics")
        assert "free\n" in it.run("check node", f"--listen-port={NODE_PORT}")
        with it.daemon("node", NODE_PORT):
            assert "\nsglang:" in fetch(NODE_PORT, "/metrics")


def fetch(port: int, path: str) -> str:
    """Return a page of a daemon on this machine."""
    with urlopen(f"http://127.0.0.1:{port}{path}", timeout=DEADLINE) as answer:
        text: str = answer.read().decode()
    return text


def main(wheel: Path) -> None:
    """Install the wheel, and try it."""
    with tempfile.TemporaryDirectory(prefix="smg-exporter-wheel-") as name:
        it = Installed(Path(name), wheel.resolve())
        try_all(it)
        assert it.tried == it.commands, f"not tried: {it.commands - it.tried}"
        print(f"Python {sys.version.split()[0]}: {wheel.name} installed, {len(it.tried)} commands tried")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
