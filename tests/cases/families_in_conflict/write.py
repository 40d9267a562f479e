"""A family with two types or modes, or with a name that another family takes up, is what it was first."""

from pathlib import Path

from tests.support.files import bucket, counter, gauge, total
from tests.support.files import write as write_file


def write(directory: Path) -> None:
    write_file(directory / "counter_11.db", {counter("both"): 1.0, counter("taken"): 2.0})
    write_file(
        directory / "gauge_max_11.db", {gauge("both"): 3.0, gauge("modes"): 4.0, gauge("taken_total"): 5.0}
    )
    write_file(
        directory / "gauge_min_11.db", {gauge("modes"): 6.0, gauge("wait_bucket"): 7.0, gauge("free"): 8.0}
    )
    write_file(directory / "histogram_11.db", {total("wait"): 1.0, bucket("wait", "+Inf"): 1.0})
