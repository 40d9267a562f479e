"""Listings, processes and the file sets that they give."""

import zlib
from collections.abc import Collection

from exporter.multiproc.fileset import FileSet, Plan, decide
from exporter.multiproc.listing import Listed, Listing
from exporter.multiproc.liveness import Liveness, State
from exporter.multiproc.processes import Process
from tests.support.files import Processes

DIRECTORY = (1, 1)
WRITTEN = 1000.0
"""When the files were last written."""


def listing(*names: str, identity: tuple[int, int] = DIRECTORY, renewed: Collection[str] = ()) -> Listing:
    """Return a listing of files by name; those `renewed` are others than the earlier ones of the same names."""
    files = {}
    for name in sorted(names):
        kind, _, writer = name.removesuffix(".db").rpartition("_")
        files[name] = Listed(name, 1, zlib.crc32(name.encode()) + (name in renewed), kind, writer)
    return Listing(identity, files, {})


def alive(*pids: int, started: float = 0.0, ticks: int = 1) -> Processes:
    """Return the processes of those pids as all there are."""
    return Processes({str(pid): Process(str(pid), ticks, started) for pid in pids}, WRITTEN)


def through(*steps: tuple[Listing, Processes], liveness: Liveness) -> FileSet:
    files = FileSet("/dir")
    for step in steps:
        files = decide(files, *step, liveness)
    return files


def plans(files: FileSet) -> dict[str, Plan]:
    return {name: file.plan for name, file in files.files.items()}


def states(files: FileSet) -> dict[str, State]:
    return {name: writer.state for name, writer in files.writers.items()}


FOLLOW, ONCE, LEAVE = Plan.FOLLOW, Plan.ONCE, Plan.LEAVE
