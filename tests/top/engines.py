"""Expositions of engines at work, as they are from second to second, and their views."""

from typing import Any

from exporter.engine.tracker import Tracker
from exporter.scraping.reading import BodyReader
from exporter.scraping.snapshots import Snapshots
from exporter.top.poll import View

START = 1_700_000_000.0


def sglang(second: int, *, ranks: int = 2, labels: str = "", running: int = 3) -> str:
    """Return what SGLang says after so many seconds: 10 requests and 1,000 tokens out a second."""
    lines: dict[str, None] = {}

    def add(kind: str, name: str, own: str, value: float) -> None:
        lines[f"# TYPE {name.removesuffix('_bucket')} {kind}"] = None
        lines[f"{name}{{{','.join(filter(None, [own, labels]))}}} {value}"] = None

    for rank in range(ranks):
        of_rank = f'model_name="meta/llama",tp_rank="{rank}",pp_rank="0"'
        add("gauge", "sglang:num_running_reqs", of_rank, running)
        add("gauge", "sglang:num_queue_reqs", of_rank, 1)
        add("gauge", "sglang:token_usage", of_rank, 0.5 + rank / 10)
    add("counter", "sglang:num_requests_total", 'model_name="meta/llama"', 10 * second)
    add("counter", "sglang:prompt_tokens_total", 'model_name="meta/llama"', 4000 * second)
    add("counter", "sglang:cached_tokens_total", 'model_name="meta/llama"', 1000 * second)
    add("counter", "sglang:generation_tokens_total", 'model_name="meta/llama"', 1000 * second)
    for bound in ("0.1", "0.2", "+Inf"):
        add("histogram", "sglang:time_to_first_token_seconds_bucket", f'le="{bound}"', 10 * second)
    return "\n".join([*lines, ""])


def view(name: str = "grpc://10.0.0.7:8001", *, seconds: int = 10, **said: Any) -> View:
    """Return the view of a worker that has been read for so many seconds."""
    tracker, reader, snapshots = Tracker(window=5.0), BodyReader(keeps_addresses=True), Snapshots()
    for second in range(1, seconds + 1):
        reading = reader.read(sglang(second, **said).encode())
        tracker.take(START + second, snapshots.take(reading), up=True)
    return {"worker_addr": name, "url": "http://h/metrics", "problem": "", **tracker.view()}


def down(name: str = "grpc://10.0.0.8:8001", problem: str = "cannot connect: Connection refused") -> View:
    """Return the view of a worker that could never be read."""
    tracker = Tracker()
    tracker.fail(START, up=False)
    return {"worker_addr": name, "url": "http://h/metrics", "problem": problem, **tracker.view()}
