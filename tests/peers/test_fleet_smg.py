"""A real SMG gateway that tells the fleet of its workers, and what its own /engine_metrics makes of them."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.support.daemon import daemon
from tests.support.merging import recorded_text
from tests.support.peers import program
from tests.support.smg import gateway
from tests.support.waiting import eventually

pytestmark = pytest.mark.peer

KEY = "the-gateways-key"
MODEL = {"model_path": "m", "served_model_name": "m", "tp_size": 1, "dp_size": 1}


class Worker(ThreadingHTTPServer):
    """An HTTP worker, as much of SGLang as SMG asks for, with recorded metrics."""

    daemon_threads = True

    def __init__(self, metrics: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = {
            "/health": b"OK",
            "/v1/models": json.dumps({"object": "list", "data": [{"id": "m"}]}).encode(),
            "/model_info": json.dumps(MODEL).encode(),
            "/server_info": json.dumps(MODEL).encode(),
            "/metrics": metrics,
        }
        self.seen: list[tuple[str, dict[str, str]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Worker
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.seen.append((path, {name.lower(): value for name, value in self.headers.items()}))
        body = self.server.answers.get(path)
        kind = "text/plain; version=0.0.4" if path == "/metrics" else "application/json"
        self.send_response(200 if body else 404)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def worker(metrics: bytes) -> Iterator[Worker]:
    with Worker(metrics) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def test_smg_tells_the_fleet_of_its_workers(recorded: dict[str, Path], tmp_path: Path) -> None:
    program("smg")
    key_file = tmp_path / "key"
    key_file.write_text(f"{KEY}\n")
    metrics = recorded_text(recorded["tp1"])
    with ExitStack() as stack:
        workers = [stack.enter_context(worker(metrics)) for _ in range(2)]
        urls = [server.url for server in workers]
        smg = stack.enter_context(gateway(tmp_path, urls, f"--api-key={KEY}", key=KEY))
        options = (f"--smg-url={smg.url}", f"--smg-api-key-file={key_file}", "--smg-refresh=1")
        fleet = stack.enter_context(daemon(tmp_path / "fleet", "fleet", *options))

        answer = fleet.get("/engine_metrics").exposition
        answer.check()
        addresses = {server.url for server in workers}
        for name in ("sglang:grammar_schema_count_count", "sglang:max_running_requests_under_SLO"):
            assert {labels["worker_addr"] for labels in answer.labels(name)} == addresses
        groups = json.loads(fleet.get("/sd").text)
        assert {group["labels"]["worker_addr"] for group in groups} == addresses
        assert {group["labels"]["__meta_smg_model_id"] for group in groups} == {"m"}
        assert {group["labels"]["__meta_smg_worker_type"] for group in groups} == {"regular"}

        # What SMG's own endpoint makes of the same workers: nothing, for two names that its parser dislikes.
        assert b"sglang" not in smg.ask("/engine_metrics")

        by_fleet = [
            headers
            for server in workers
            for path, headers in server.seen
            if headers.get("user-agent") == "smg-exporter"
        ]
        assert by_fleet
        assert all("authorization" not in headers for headers in by_fleet)

        smg.kill()
        eventually(
            lambda: fleet.scrape().values("smg_exporter_discovery_up", source="smg") == [0], "SMG is missed"
        )
        kept = fleet.get("/engine_metrics").exposition.matching("smg_exporter_target_up")
        assert {sample.labels["worker_addr"]: sample.value for sample in kept} == dict.fromkeys(addresses, 1)
