"""Multiprocess files as tests want them: real ones through prometheus_client, and crooked ones byte by byte."""

import os
import struct
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeAlias
from unittest.mock import patch

from prometheus_client import CollectorRegistry, values
from prometheus_client.mmap_dict import MmapedDict, mmap_key

from exporter.multiproc.dbfile import Contents
from exporter.multiproc.dbformat import Shapes
from exporter.multiproc.processes import Process

HELP = "Some help."

Mode: TypeAlias = Literal[
    "all", "liveall", "min", "livemin", "max", "livemax", "sum", "livesum", "mostrecent", "livemostrecent"
]


def sample_key(family: str, sample: str, labels: Mapping[str, str], help_text: str = HELP) -> str:
    return mmap_key(family, sample, list(labels), list(labels.values()), help_text)


def counter(name: str, **labels: str) -> str:
    return sample_key(name, f"{name}_total", labels)


def gauge(name: str, **labels: str) -> str:
    return sample_key(name, name, labels)


def bucket(name: str, le: str, **labels: str) -> str:
    return sample_key(name, f"{name}_bucket", {**labels, "le": le})


def total(name: str, **labels: str) -> str:
    """Return the key of a histogram's or a summary's sum."""
    return sample_key(name, f"{name}_sum", labels)


def write(path: Path, entries: Mapping[str, float | tuple[float, float]]) -> Path:
    """Write values, or (value, stamp) pairs, by key, as a worker's process does; go on with a file that exists."""
    file = MmapedDict(str(path))
    for key, number in entries.items():
        value, stamp = number if isinstance(number, tuple) else (number, 0.0)
        file.write_value(key, value, stamp)
    file.close()
    return path


def raw_entry(key: bytes, value: float = 1.0, stamp: float = 0.0, *, length: int | None = None) -> bytes:
    """Return an entry's bytes; `length` is a lie about the key's."""
    padding = b" " * (8 - (len(key) + 4) % 8)
    return (
        struct.pack("=i", len(key) if length is None else length)
        + key
        + padding
        + struct.pack("=dd", value, stamp)
    )


def raw_file(*entries: bytes, used: int | None = None, tail: int = 64) -> bytes:
    """Return a file's bytes, with `tail` zeros preallocated; `used` is a lie about those in use."""
    body = b"".join(entries)
    return struct.pack("=i4x", 8 + len(body) if used is None else used) + body + bytes(tail)


def contents(*keys: str, stamped: bool = False) -> Contents:
    """Return what a file that has these keys says."""
    data = bytearray(raw_file(*(raw_entry(key.encode()) for key in keys), tail=0))
    return Contents(Shapes(stamped=stamped).find(data), data)


class Processes:
    """Evidence as a test has it: the processes that live, of a worker whose files are all set up, and old."""

    def __init__(self, living: Mapping[str, Process], written: float = 0.0) -> None:
        self.living = living
        self.written = written

    def existing(self, pids: frozenset[str]) -> Collection[str]:
        return self.living.keys() & pids

    def find_process(self, pid: str) -> Process | None:
        return self.living.get(pid)

    def is_set_up(self, name: str) -> bool:
        return bool(name)

    def last_write(self, name: str) -> float:
        return self.written if name else 0.0


@contextmanager
def process(directory: Path, pid: int) -> Iterator[CollectorRegistry]:
    """Play a process of a worker: metrics of the registry given write into the directory under that pid."""
    value_class = values.MultiProcessValue(lambda: pid)
    with (
        patch.dict(os.environ, PROMETHEUS_MULTIPROC_DIR=str(directory)),
        patch.object(values, "ValueClass", value_class),
    ):
        yield CollectorRegistry()
    values.close_all_multiprocess_files()


def looks(directory: Path) -> dict[str, tuple[object, ...]]:
    """Return all that a reader could have changed, of the directory and its files."""
    found: dict[str, tuple[object, ...]] = {}
    for path in (directory, *directory.iterdir()):
        info = path.stat()
        data = path.read_bytes() if path.is_file() else b""
        found[path.name] = (
            info.st_ino,
            info.st_mode,
            info.st_size,
            info.st_mtime_ns,
            info.st_ctime_ns,
            info.st_nlink,
            data,
        )
    return found
