"""Files that cannot be read cost themselves, samples that cannot be used too."""

import os
from pathlib import Path

from tests.support.files import counter, gauge, raw_entry, raw_file
from tests.support.files import write as write_file


def write(directory: Path) -> None:
    for pid in (11, 12):
        write_file(directory / f"counter_{pid}.db", {counter("requests"): float(pid)})
    (directory / "counter_13.db").touch()
    (directory / "counter_14.db").write_bytes(b"abc")
    (directory / "counter_15.db").write_bytes(
        raw_file(raw_entry(counter("requests").encode()), used=2**31 - 1)
    )
    (directory / "counter_16.db").write_bytes(raw_file(raw_entry(b"x"), raw_entry(b"y", length=-25)))
    (directory / "counter_17.db").mkdir()
    (directory / "counter_18.db").symlink_to("counter_11.db")
    os.mkfifo(directory / "counter_19.db")
    write_file(directory / "gauge_x.db", {gauge("requests"): 1.0})
    write_file(directory / "counter_.db", {counter("requests"): 1.0})
    write_file(directory / "info_11.db", {gauge("requests"): 1.0})
    write_file(directory / "gauge_max_11.db", {"nonsense": 1.0, gauge("load"): 2.0, "[]": 3.0})
    sparse = write_file(directory / "summary_11.db", {gauge("sparse"): 1.0})
    os.truncate(sparse, 2**40)
