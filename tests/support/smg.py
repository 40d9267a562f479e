"""A real SMG gateway as a process of its own, and gRPC workers for it: a stub of SGLang, a writer, and an exporter."""

import json
import random
import subprocess
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

from exporter.addresses import derived_metrics_port
from tests.support.daemon import Daemon, daemon, free_port, is_free
from tests.support.peers import program
from tests.support.waiting import DEADLINE, eventually
from tests.support.writers import Writer, writer

_STUB = Path(__file__).with_name("grpc_worker.py")
_TOKENIZER = {
    "version": "1.0",
    "added_tokens": [],
    "pre_tokenizer": {"type": "Whitespace"},
    "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1, "</s>": 2}, "unk_token": "a"},
}


class Gateway:
    """A running SMG; made by `gateway`."""

    def __init__(self, popen: "subprocess.Popen[bytes]", port: int, key: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._popen = popen
        self._headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}

    def ask(self, path: str, method: str = "GET", body: object = None) -> bytes:
        """Return the body of an answer; urllib's HTTPError for a status that tells of an error."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, self._headers, method=method)  # noqa: S310 - our own URL
        with urllib.request.urlopen(request, timeout=DEADLINE) as answer:  # noqa: S310 - as above
            content: bytes = answer.read()
        return content

    def workers(self) -> list[dict[str, Any]]:
        """Return what SMG says of its workers; an empty list while it cannot be asked."""
        try:
            listed: list[dict[str, Any]] = json.loads(self.ask("/workers"))["workers"]
        except (OSError, HTTPException):
            return []
        return listed

    def add(self, url: str, **facts: object) -> None:
        """Add a worker, and wait until it is listed."""
        self.ask("/workers", "POST", {"url": url, **facts})
        eventually(lambda: url in self.urls(), f"SMG lists {url}")

    def remove(self, url: str) -> None:
        """Remove a worker, and wait until it is no longer listed, which takes SMG up to five seconds."""
        (number,) = (worker["id"] for worker in self.workers() if worker["url"] == url)
        self.ask(f"/workers/{number}", "DELETE")
        eventually(lambda: url not in self.urls(), f"SMG no longer lists {url}")

    def urls(self) -> set[str]:
        """Return the URLs of its workers."""
        return {worker["url"] for worker in self.workers()}

    def runs(self) -> bool:
        return self._popen.poll() is None

    def kill(self) -> None:
        self._popen.kill()
        self._popen.wait()


@contextmanager
def gateway(
    directory: Path,
    urls: Sequence[str],
    *options: str,
    key: str = "",
    port: int = 0,
    known: Sequence[str] = (),
) -> Iterator[Gateway]:
    """Run an SMG over workers that listen already; with the block it knows them, or those of `known`."""
    port = port or free_port()
    model = _model(directory)
    words = [
        *("--host=127.0.0.1", f"--port={port}", f"--prometheus-port={free_port()}"),
        *(f"--model-path={model}", f"--tokenizer-path={model}", "--disable-load-monitoring"),
    ]
    log = directory / "smg.log"
    with log.open("wb") as output:
        command = [program("smg"), "launch", *words, *options, "--worker-urls", *urls]
        it = Gateway(subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT), port, key)

    def knows_all() -> bool:
        assert it.runs(), log.read_text()
        healthy = {worker["url"].partition("@")[0] for worker in it.workers() if worker["is_healthy"]}
        return healthy == set(known or urls)

    try:
        eventually(knows_all, "SMG knows its workers", within=60)
        yield it
    finally:
        it.kill()


@dataclass
class GrpcWorker:
    """A worker: the stub, a process that writes metrics, and the exporter of these on the derived port."""

    url: str
    stub: "subprocess.Popen[bytes]"
    writer: Writer
    exporter: Daemon

    def kill(self, *, exporter_too: bool) -> None:
        """End the worker, and its exporter too as when their host goes down."""
        for popen in (self.stub, self.exporter.popen)[: 1 + exporter_too]:
            popen.kill()
            popen.wait()
        self.writer.kill()


@contextmanager
def grpc_worker(directory: Path, *, dp_size: int = 1) -> Iterator[GrpcWorker]:
    """Run a worker, which listens with the block, and has `sglang:num_running_reqs`, its port as the value."""
    port = _port()
    files = directory / f"worker-{port}"
    files.mkdir()
    command = [_python(), str(_STUB), str(port), str(_model(directory)), str(dp_size)]
    with ExitStack() as stack:
        stub = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE))
        stack.callback(stub.kill)
        process = stack.enter_context(writer(files))
        process.set("sglang:num_running_reqs", port, tp_rank="0")
        derived = derived_metrics_port(port)
        it = stack.enter_context(daemon(files, f"--grpc-port={port}", port=derived))
        assert stub.stdout
        assert stub.stdout.readline() == b"listening\n"
        yield GrpcWorker(f"grpc://127.0.0.1:{port}", stub, process, it)


def _port() -> int:
    """Return a port that is free, as is the one derived from it."""
    while True:
        port = random.randint(11_000, 22_000)  # noqa: S311 - no secret; below those of outgoing connections
        if is_free(port) and is_free(derived_metrics_port(port)):
            return port


def _model(directory: Path) -> Path:
    """Return the directory of a model, as much of one as SMG reads."""
    model = directory / "model"
    model.mkdir(exist_ok=True)
    (model / "tokenizer.json").write_text(json.dumps(_TOKENIZER))
    return model


def _python() -> str:
    """Return the Python that SMG is installed for, from the first line of its script."""
    with Path(program("smg")).open() as script:
        return script.readline().removeprefix("#!").strip()
