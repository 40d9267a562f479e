"""Names with colons, the labels and modes of SGLang, over two ranks and a servicer."""

from pathlib import Path

from prometheus_client import Counter, Gauge, Histogram

from tests.support.files import Mode, process

OPTIONS = {"labels": [("worker_addr", "grpc://[::1]:8001")]}

GAUGES: tuple[tuple[str, Mode], ...] = (
    ("num_running_reqs", "mostrecent"),
    ("token_usage", "mostrecent"),
    ("eplb", "all"),
)


def write(directory: Path) -> None:
    names = ["model_name", "tp_rank"]
    for rank, pid in enumerate((101, 102)):
        with process(directory, pid) as registry:
            labels = ["meta/llama", str(rank)]
            for name, mode in GAUGES:
                gauge = Gauge(f"sglang:{name}", f"{name}.", names, registry=registry, multiprocess_mode=mode)
                gauge.labels(*labels).set(0.5 + rank)
    with process(directory, 100) as registry:
        Counter("sglang:prompt_tokens", "Tokens.", ["model_name"], registry=registry).labels(
            "meta/llama"
        ).inc(1234567)
        latency = Histogram(
            "sglang:time_to_first_token_seconds",
            "Seconds.",
            ["model_name"],
            buckets=(0.1, 1, 10),
            registry=registry,
        )
        for seconds in (0.05, 0.5, 0.7, 30):
            latency.labels("meta/llama").observe(seconds)
