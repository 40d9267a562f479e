"""Lists a worker's directory: which of its `.db` entries are multiprocess files, by their names."""

import os
import re
import stat
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import compress, filterfalse
from operator import is_not
from typing import NamedTuple

from exporter.multiproc.faults import Fault
from exporter.multiproc.merge import RULES

_NAME = re.compile(rf"({'|'.join(RULES)})_(.*)\.db", re.DOTALL)
_PID = re.compile(r"(?:.*-)?([1-9][0-9]*)", re.DOTALL)
_BAD_NAME = Fault(
    "bad_name", "is not named TYPE_WRITER.db or gauge_MODE_WRITER.db with a known type and mode"
)
_NOT_REGULAR = Fault("not_regular", "is not a regular file")


_RELIST = 4.0
"""Seconds after which a directory is listed even if its mtime is unchanged: some file systems do not update it."""

_CLOCK_TICK = 0.1
"""Seconds within which two changes of a directory may leave the same mtime."""


class Listed(NamedTuple):
    """A `.db` file whose name has a known kind and a writer."""

    name: str
    device: int
    inode: int
    kind: str
    """A key of `RULES`."""
    writer: str
    """The writer's pid, or the whole text that the name has in place of a pid."""


@dataclass(frozen=True)
class Listing:
    """The result of one listing of the directory."""

    identity: tuple[int, int]
    """(st_dev, st_ino) of the directory."""
    files: Mapping[str, Listed]
    """The multiprocess files, by name."""
    skipped: Mapping[str, Fault]
    """Why other `.db` entries do not count, by name."""
    directories: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """(st_dev, st_ino) of each directory listed, by path."""


class Lister:
    """Lists a directory again and again, but not while its mtime shows that nothing came or went."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._listed = 0.0

    def list(self, before: Listing | None) -> Listing:
        """List the directory; return `before`, the last listing, if nothing changed. Raises OSError."""
        now = time.time()
        if before and self._listed <= now < self._listed + _RELIST:
            info = os.stat(self._path)  # noqa: PTH116 - a plain string all the way
            is_same = (info.st_dev, info.st_ino) == before.identity
            if is_same and info.st_mtime + _CLOCK_TICK < self._listed:
                return before
        self._listed = now
        return list_directory(self._path, before)


def list_directory(path: str, before: Listing | None = None) -> Listing:
    """List a directory's `.db` entries; raises OSError.

    Only entries that are not in `before` are examined. Returns `before` itself if nothing changed.
    """
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return _list(path, directory, before)
    finally:
        os.close(directory)


def new_names(files: Mapping[str, object], before: Mapping[str, object]) -> Iterator[str]:
    """Yield the names that have another object than before. Without a loop in Python: there may be thousands."""
    return compress(files, map(is_not, map(before.get, files), files.values()))


def gone_names(files: Mapping[str, object], before: Mapping[str, object]) -> list[str]:
    """Return the names of `before` that `files` lacks. Without a loop in Python, as in `new_names`."""
    return list(filterfalse(files.__contains__, before))


def stock_pid(name: str) -> str:
    """Return the pid in the name of a gauge's file as prometheus_client does: cut off the third part's end."""
    return name.rpartition("/")[2].split("_")[2][: -len(".db")]


def _list(path: str, directory: int, before: Listing | None) -> Listing:
    info = os.fstat(directory)
    identity = info.st_dev, info.st_ino
    if before and before.identity != identity:
        before = None
    known: Mapping[str, Listed] = before.files if before else {}
    files: dict[str, Listed] = {}
    skipped: dict[str, Fault] = {}
    news = False
    with os.scandir(directory) as entries:  # given a path, it would make a path for every entry
        for entry in entries:
            listed = known.get(entry.name)
            if listed is not None and listed[2] == entry.inode():  # its inode; an attribute would take longer
                files[listed[0]] = listed
            elif entry.name.endswith(".db") and not entry.name.startswith("."):
                found = _look_at(entry)
                if isinstance(found, Fault):
                    skipped[entry.name] = found
                elif found is not None:
                    files[found.name] = found
                    news = True
    if before and not news and len(files) == len(known) and skipped == before.skipped:
        return before
    return Listing(identity, files, skipped, {path: identity})


def _look_at(entry: "os.DirEntry[str]") -> Listed | Fault | None:
    """Return a new entry as a file, or why it does not count; None if it went meanwhile."""
    match = _NAME.fullmatch(entry.name)
    if not match:
        return _BAD_NAME
    try:
        info = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(info.st_mode):
        return _NOT_REGULAR
    kind, text = match.groups()
    pid = _PID.fullmatch(text)
    return Listed(entry.name, info.st_dev, info.st_ino, sys.intern(kind), sys.intern(pid[1] if pid else text))
