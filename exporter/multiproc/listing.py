"""Lists the worker's directory: which of its `.db` entries are multiprocess files, by their names."""

import os
import re
import stat
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import compress
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


def list_directory(path: str, before: Listing | None = None) -> Listing:
    """List a directory's `.db` entries; raises OSError.

    Only entries that are not in `before` are examined. Returns `before` itself if nothing changed.
    """
    info = os.stat(path)  # noqa: PTH116 - this module works on plain strings, as os.scandir does
    identity = info.st_dev, info.st_ino
    if before and before.identity != identity:
        before = None
    known: Mapping[str, Listed] = before.files if before else {}
    files: dict[str, Listed] = {}
    skipped: dict[str, Fault] = {}
    news = False
    with os.scandir(path) as entries:
        for entry in entries:
            name = entry.name
            listed = known.get(name)
            if listed is not None and listed[2] == entry.inode():  # its inode; an attribute would take longer
                files[name] = listed
            elif name.endswith(".db") and not name.startswith("."):
                found = _look_at(entry)
                if isinstance(found, Fault):
                    skipped[name] = found
                elif found is not None:
                    files[name] = found
                    news = True
    if before and not news and len(files) == len(known) and skipped == before.skipped:
        return before
    return Listing(identity, files, skipped)


def new_names(files: Mapping[str, object], before: Mapping[str, object]) -> Iterator[str]:
    """Yield the names that have another object than before. Without a loop in Python: there may be thousands."""
    return compress(files, map(is_not, map(before.get, files), files.values()))


def stock_pid(name: str) -> str:
    """Return the pid in the name of a gauge's file as prometheus_client does: cut off the third part's end."""
    return name.split("_")[2][: -len(".db")]


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
