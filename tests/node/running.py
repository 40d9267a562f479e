"""node as a process, in a pid namespace in which only the processes of the test are."""

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.daemon import free_port
from tests.support.hosts import container

_BESIDE = """
import subprocess, sys
children = [subprocess.Popen(command, stdin=subprocess.PIPE) for command in eval(sys.argv[1])]
print("started", flush=True)
sys.stdin.read()
children[0].terminate()
print(children[0].wait(), flush=True)
"""
"""Runs commands beside each other, the exporter first, and prints its exit code at the end."""


class Host:
    """A host on which node and some workers run."""

    host = "127.0.0.1"

    def __init__(self, process: "subprocess.Popen[str]", port: int) -> None:
        self._process = process
        self.port = port
        self.scheme = "http"
        self.client = urllib.request.build_opener()

    def get(self, path: str, port: int = 0) -> tuple[int, str]:
        """Return the status code and the text of an answer, by default of node's own port."""
        try:
            url = f"{self.scheme}://127.0.0.1:{port or self.port}{path}"
            with self.client.open(url, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:  # nobody listens yet
            return 0, ""

    def targets(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.get("/sd")[1])
        return found

    def end(self) -> int:
        """End node; return its exit code."""
        out, _ = self._process.communicate(timeout=20)
        return int(out.splitlines()[-1])


@contextmanager
def host(
    *directories: Path, options: tuple[str, ...] = (), beside: Sequence[Sequence[str]] = ()
) -> Iterator[Host]:
    """Run node, a worker on each directory, and the commands of `beside`."""
    port = free_port()
    worker = str(Path(__file__).parents[1] / "support" / "hosts.py")
    node = [sys.executable, "-m", "exporter", "node", "--node-name=gpu-1", f"--listen-port={port}"]
    commands = [
        [*node, "--listen-host=127.0.0.1", *options],
        ["cat"],  # no relative of node's: who sees none is alone
        *([sys.executable, worker, "--writers=1", f"--directory={each}", "--port=0"] for each in directories),
        *map(list, beside),
    ]
    with subprocess.Popen(
        [*container(), sys.executable, "-c", _BESIDE, repr(commands)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Host(process, port)
        finally:
            process.send_signal(signal.SIGKILL)


def served(it: Host, count: int) -> bool:
    """Whether so many workers are served."""
    try:
        return len(it.targets()) == count
    except ValueError:
        return False
