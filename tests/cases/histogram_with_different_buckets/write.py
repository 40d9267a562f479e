"""Two processes' histograms, the buckets of which differ."""

from pathlib import Path

from prometheus_client import Histogram

from tests.support.files import process


def write(directory: Path) -> None:
    for pid, buckets in ((11, (0.5, 1, 2e6)), (12, (0.25, 1))):
        with process(directory, pid) as registry:
            latency = Histogram("latency", "Seconds.", ["route"], buckets=buckets, registry=registry)
            for seconds in (0.2, 0.4, 0.9, 5, 3e6):
                latency.labels("/a").observe(seconds)
            latency.labels(f"/{pid}").observe(1)
