"""Series that already have a label that is added keep theirs as `exported_...`."""

from pathlib import Path

from tests.support.files import counter, gauge
from tests.support.files import write as write_file

OPTIONS = {"labels": [("worker_addr", "grpc://127.0.0.1:8001"), ("zone", "eu")]}


def write(directory: Path) -> None:
    write_file(
        directory / "counter_11.db",
        {
            counter("requests"): 1.0,
            counter("requests", worker_addr="theirs"): 2.0,
            counter("requests", worker_addr="theirs", exported_worker_addr="older"): 3.0,
            counter("requests", pid="7", zone=""): 4.0,
        },
    )
    write_file(directory / "gauge_all_11.db", {gauge("load", pid="7"): 5.0, gauge("load"): 6.0})
    write_file(directory / "gauge_max_11.db", {gauge("peak", pid="7"): 7.0})
