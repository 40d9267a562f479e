"""Values where Go writes numbers otherwise than Python, and those that are no numbers."""

import math
from pathlib import Path

from tests.support.files import gauge
from tests.support.files import write as write_file

VALUES = (
    0.0, 0.1, 1e-7, 999999.0, 999999.5, 1e6, 1000000.5, 1234567.0, 123456789012.0, 2.0**53, 1e15, 1e16, 1e22, 1e300,
    -1.0, -1e6, -1e16, 5e-324, 1.7976931348623157e308, math.inf, -math.inf, math.nan,
)  # fmt: skip


def write(directory: Path) -> None:
    numbers = {gauge("number", index=f"{index:02}"): value for index, value in enumerate(VALUES)}
    write_file(directory / "gauge_max_11.db", numbers)
    for pid in (11, 12):
        numbers = {gauge("total", index=f"{index:02}"): value for index, value in enumerate(VALUES)}
        write_file(directory / f"gauge_sum_{pid}.db", numbers)
