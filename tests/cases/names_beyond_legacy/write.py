"""Names that only the newer escaping schemes can carry, and colons, which all can."""

from pathlib import Path

from tests.support.files import counter, gauge
from tests.support.files import write as write_file


def write(directory: Path) -> None:
    write_file(
        directory / "gauge_max_11.db",
        {gauge("disk.free-bytes", **{"device.name": "a.b"}): 1.0, gauge("ß"): 2.0},
    )
    write_file(directory / "counter_11.db", {counter("sglang:x", worker_id="_1"): 3.0, counter("s:x.y"): 4.0})
