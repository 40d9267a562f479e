"""What can be wrong with a file, or with an entry of one."""

from typing import NamedTuple

FILE_REASONS = ("bad_name", "corrupt", "empty", "not_regular", "too_large", "truncated", "unreadable")
SAMPLE_REASONS = ("bad_key", "mode_conflict", "name_conflict", "type_conflict")


class Fault(NamedTuple):
    """Why something is left out."""

    reason: str
    """One word for a metric's label, of `FILE_REASONS` or `SAMPLE_REASONS`."""
    text: str
    """The same for people: what follows a file's name in a sentence."""


class BadDataError(Exception):
    """Data that cannot be used as it is."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.fault = Fault(reason, text)


class BadFileError(BadDataError):
    """A whole file."""


class BadKeyError(BadDataError):
    """One entry of a file."""
