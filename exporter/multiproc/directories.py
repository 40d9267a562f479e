"""Several directories of one worker, listed as one. The names of files begin with that of their directory.

Directories may come and go, as some of a worker's files may: what vanished files had counted stays in the sums. Only
when all files have vanished is it another worker.
"""

import errno
import glob
import os
from collections.abc import Iterable, Mapping, Sequence

from exporter.multiproc.faults import Fault
from exporter.multiproc.listing import Listed, Lister, Listing

_IDENTITY = 0, 0
"""The identity of every listing of several directories: it stays, as one replaced directory makes no new worker."""


class Directories:
    """Lists the directories that match any of the patterns; a plain path is a pattern that only itself matches."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = [os.path.abspath(pattern) for pattern in patterns]  # noqa: PTH100 - plain strings all the way
        self.base = _base(self._patterns)
        """The directory that the names of files are relative to; empty for `/`."""
        self._members: Mapping[str, _Member] = {}
        self._faults: Mapping[str, Fault] = {}

    def list(self, before: Listing | None) -> Listing:
        """List all directories; return `before`, the last listing, if nothing changed. Raises OSError if there is none.

        For a directory that exists but cannot be listed now, its last listing is used: else its files would count as
        gone now, and again as new files later.
        """
        known = self._members if before else {}
        members: dict[str, _Member] = {}
        faults: dict[str, Fault] = {}
        identities: set[tuple[int, int]] = set()
        is_news = False
        for path in matches(self._patterns):
            member = known.get(path) or _Member(path, os.path.relpath(path, self.base or "/"))
            try:
                is_news |= member.look()
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                faults[path] = Fault("unreadable", f"cannot be listed: {error.strerror}")
            if (
                member.listing and member.listing.identity not in identities
            ):  # else it is there by another path
                members[path] = member
                identities.add(member.listing.identity)
        if not (members or faults):
            raise FileNotFoundError(errno.ENOENT, "No such directory")
        if before and not is_news and members.keys() == known.keys() and faults == self._faults:
            return before
        self._members, self._faults = members, faults
        return _joined(members.values(), faults)


class _Member:
    """One directory."""

    def __init__(self, path: str, name: str) -> None:
        self.listing: Listing | None = None
        self.files: Mapping[str, Listed] = {}
        """Its files, by their names with the directory's before them."""
        self.skipped: Mapping[str, Fault] = {}
        self._prefix = f"{name}/"
        self._lister = Lister(path)

    def look(self) -> bool:
        """List the directory; return whether anything changed. Raises OSError."""
        before, self.listing = self.listing, self._lister.list(self.listing)
        if self.listing is before:
            return False
        known, files = before.files if before else {}, self.files
        self.files = {
            name: files[name] if known.get(listed.name) is listed else listed._replace(name=name)
            for listed in self.listing.files.values()
            if (name := self._prefix + listed.name)
        }
        self.skipped = {self._prefix + name: fault for name, fault in self.listing.skipped.items()}
        return True


def _joined(members: Iterable[_Member], faults: Mapping[str, Fault]) -> Listing:
    files: dict[str, Listed] = {}
    skipped = dict(faults)
    directories: dict[str, tuple[int, int]] = {}
    for member in members:
        files |= member.files
        skipped |= member.skipped
        directories |= member.listing.directories if member.listing else {}
    return Listing(_IDENTITY, files, skipped, directories)


def matches(patterns: Iterable[str]) -> Iterable[str]:
    """Return the directories that match, each once; a plain path also if there is no directory."""
    found: dict[str, None] = {}
    for pattern in patterns:
        matching = sorted(filter(os.path.isdir, glob.glob(pattern)))  # noqa: PTH207 - plain strings
        found.update(dict.fromkeys(matching or [pattern]))
    return found


def _base(patterns: Iterable[str]) -> str:
    """Return the directory below which everything is that may match."""
    plain = (pattern.partition("*")[0].partition("?")[0].partition("[")[0] for pattern in patterns)
    return os.path.commonpath(list(map(os.path.dirname, plain))).rstrip("/")
