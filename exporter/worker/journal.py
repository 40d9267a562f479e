"""What the log says of one worker's files: those that are skipped, and the progress of the first read."""

import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence

from exporter.logs import by_number, fields, some
from exporter.multiproc.engine import Progress
from exporter.multiproc.faults import Fault
from exporter.multiproc.fileset import FileSet

_PROGRESS_PERIOD = 2.0
"""Seconds between two log lines on the progress of the first read."""

_logger = logging.getLogger(__name__)


class Journal:
    """Logs changes only: a file that is skipped is logged once."""

    def __init__(self, directory: str, *, quiet: bool = False) -> None:
        """`quiet`: log nothing."""
        self._directory = directory
        self._quiet = quiet
        self._unread: Mapping[str, Fault] = {}
        self._refused: Mapping[str, Fault] = {}
        self._skipped: Mapping[str, Fault] = {}
        """`_unread` and `_refused` together."""
        self._progress_logged = 0.0
        """When progress was logged last, by the monotonic clock; 0 if no read is in progress."""

    def note_progress(self, progress: Progress | None) -> None:
        """Log the progress of the first read, at most every `_PROGRESS_PERIOD` seconds."""
        now = time.monotonic()
        if (
            not progress
            or not progress.read
            or now <= self._progress_logged + _PROGRESS_PERIOD
            or self._quiet
        ):
            return
        self._progress_logged = now
        _logger.info(
            "first read of all files in progress",
            extra=fields(directory=self._directory, read=progress.read, of=progress.total),
        )

    def note_read(self, files: FileSet, unread: Mapping[str, Fault], refused: Mapping[str, Fault]) -> None:
        """Log the end of a first read whose progress was logged, and which files are skipped now and were not before.

        `unread` are entries that do not count, `refused` files that cannot be read; the same objects if unchanged.
        """
        if self._progress_logged:
            self._progress_logged = 0.0
            _logger.info(
                "first read of all files done",
                extra=fields(directory=self._directory, files=len(files.files)),
            )
        if (unread is not self._unread or refused is not self._refused) and not self._quiet:
            self._unread, self._refused = unread, refused
            self._log_skipped({**unread, **refused}, files)

    def _log_skipped(self, skipped: Mapping[str, Fault], files: FileSet) -> None:
        known, self._skipped = self._skipped, skipped
        if new := by_number(skipped.keys() - known.keys()):
            reasons = Counter(skipped[name].reason for name in new)
            self._log(logging.WARNING, "files skipped", new, **reasons)
        if good := by_number((known.keys() - skipped.keys()) & files.files.keys()):
            self._log(logging.INFO, "files no longer skipped", good)

    def _log(self, level: int, message: str, names: Sequence[str], **reasons: int) -> None:
        about = fields(directory=self._directory, count=len(names), names=some(names), **reasons)
        _logger.log(level, message, extra=about)
