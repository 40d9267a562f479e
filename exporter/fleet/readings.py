"""Targets' answers -> readings, in threads; and the last reading of each target, beside which the next one is read.

Large bodies have a thread of their own: one may take a minute to be read for the first time, and must not hold up the
others. Its reading is kept though its scrape has been given up, so that the next scrape is quick.
"""

from collections.abc import Collection
from functools import partial

from exporter.fleet.targets import Target
from exporter.model import Labels
from exporter.scraping.client import Answer
from exporter.scraping.reading import BodyReader, Reading
from exporter.threads import DaemonThread

_LARGE = 4 << 20
"""Bytes from which a body is large: reading it takes a second if it is like no other."""


class Readings:
    """Reads answers. `thread` reads those of usual size, and may do other short work for the fleet."""

    def __init__(self, labels: Labels, max_bytes: int) -> None:
        """Put `labels`, whose values are escaped, on every series; refuse bodies of more than `max_bytes`."""
        self.thread = DaemonThread()
        self._reader = BodyReader(labels)
        self._thread_of_large = DaemonThread()
        self._reader_of_large = BodyReader(labels)
        self._max_bytes = max_bytes
        self._last: dict[str, Reading] = {}
        """By metrics URL. Two threads put readings in; the event loop takes them out."""

    async def read(self, target: Target, answer: Answer) -> Reading:
        """Return the reading of a target's answer; raises TargetFailure or BadExpositionError if it has none."""
        found = await self.thread.run(partial(self._read_unless_large, target, answer))
        if isinstance(found, Reading):
            return found
        return await self._thread_of_large.run(partial(self._read, self._reader_of_large, target, found))

    def forget(self, urls: Collection[str]) -> None:
        """Forget the last readings of these metrics URLs."""
        for url in urls:
            self._last.pop(url, None)

    def forget_others(self, urls: Collection[str]) -> None:
        """Forget all last readings but those of these metrics URLs."""
        self.forget([url for url in [*self._last] if url not in urls])

    # --- In the threads ---

    def _read_unless_large(self, target: Target, answer: Answer) -> Reading | bytes:
        """Return the reading, or the body if it is large."""
        body = answer.body(self._max_bytes)
        return body if len(body) >= _LARGE else self._read(self._reader, target, body)

    def _read(self, reader: BodyReader, target: Target, body: bytes) -> Reading:
        address = target.worker_addr.encode()  # an address has no characters that must be escaped
        reading = reader.read(body, address, self._last.get(target.metrics_url))
        self._last[target.metrics_url] = reading
        return reading
