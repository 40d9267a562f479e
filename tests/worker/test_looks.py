import threading
from collections.abc import Collection
from typing import cast

import pytest

from exporter.discovery.finder import Finder, Findings
from exporter.worker.looks import Looks


class Hanging:
    """A finder that hangs at process 7, until the test lets it go."""

    def __init__(self, avoided: Collection[int], free: threading.Event) -> None:
        self.avoided = set(avoided)
        self.at: int | None = None
        self._free = free

    def look(self) -> Findings:
        if 7 not in self.avoided:
            self.at = 7
            self._free.wait()
        return Findings(processes=3)


async def test_a_process_that_makes_a_look_hang_is_not_looked_into_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    free = threading.Event()
    looks = Looks(lambda avoided: cast("Finder", Hanging(avoided, free)), patience=0.05)
    try:
        assert await looks.look(lambda finder: finder) is None
        finder = await looks.look(lambda finder: finder)
    finally:
        free.set()
    assert cast("Hanging", finder).avoided == {7}
    assert [record.getMessage() for record in caplog.records] == [
        "a process makes discovery hang, and is not looked into any more"
    ]


async def test_what_a_look_is_followed_by_has_its_result() -> None:
    free = threading.Event()
    free.set()
    looks = Looks(lambda avoided: cast("Finder", Hanging(avoided, free)))
    assert await looks.look(lambda finder: cast("Hanging", finder).at) == 7
