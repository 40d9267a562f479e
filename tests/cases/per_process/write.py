"""Nothing is merged: one series per process, each with its pid."""

from pathlib import Path

from prometheus_client import Counter, Gauge, Histogram

from tests.support.files import process

OPTIONS = {"per_process": True}


def write(directory: Path) -> None:
    for pid in (11, 12):
        with process(directory, pid) as registry:
            Counter("requests", "Requests.", registry=registry).inc(pid)
            Gauge("load", "Load.", registry=registry, multiprocess_mode="mostrecent").set(pid)
            Gauge("rank", "Rank.", registry=registry, multiprocess_mode="all").set(pid)
            Histogram("latency", "Seconds.", buckets=(1,), registry=registry).observe(pid)
