"""What can be wrong with a file, or with an entry of a file."""

from typing import NamedTuple

FILE_REASONS = ("bad_name", "corrupt", "empty", "not_regular", "too_large", "truncated", "unreadable")
SAMPLE_REASONS = ("bad_key", "mode_conflict", "name_conflict", "type_conflict")


class Fault(NamedTuple):
    """Why a file, or an entry of a file, is left out."""

    reason: str
    """The value of a metric's `reason` label: one of `FILE_REASONS` or `SAMPLE_REASONS`."""
    text: str
    """The same for people, as the rest of a sentence that begins with the file's name."""


class BadDataError(Exception):
    """Data that cannot be used, for the reason in `fault`."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.fault = Fault(reason, text)


class BadFileError(BadDataError):
    """A file of which nothing can be used."""


class BadKeyError(BadDataError):
    """An entry that cannot be used because of its key."""
