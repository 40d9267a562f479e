"""Directories to measure on: the recorded ones, and larger ones made of their entries."""

import json
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client.mmap_dict import MmapedDict, mmap_key

_DATA = Path(__file__).parents[1] / "tests" / "data"
_MEMORY = Path("/dev/shm")  # noqa: S108 - a directory of our own is made there
_RANK_PID, _SERVICER_PID = "14112", "14120"
"""Of the recorded `tp8`: the scheduler of rank 0, and the servicer."""
LIVE_PIDS = ("14107", "14108")
"""Of the recorded `tp1`: the scheduler and the servicer."""
_FIRST_DEAD_PID = 5_000_000
"""Above any that Linux gives."""
_SHARED_KINDS = ("counter", "histogram", "gauge_all", "gauge_mostrecent")
_KINDS_OF_THEIR_OWN = ("summary", "gauge_livesum", "gauge_max")
FILES_OF_A_DEAD_PROCESS = len(_SHARED_KINDS) + len(_KINDS_OF_THEIR_OWN)


@contextmanager
def workspace() -> Iterator[Path]:
    """Give a directory in memory, where a worker's files should be, as long as the block runs."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir=_MEMORY if _MEMORY.is_dir() else None) as path:
        yield Path(path)


def recorded(name: str, parent: Path) -> Path:
    """Unpack the recorded directory `tp1` or `tp8` into `parent`."""
    with tarfile.open(_DATA / f"sglang-{name}.tar.xz") as tar:
        tar.extractall(parent, filter="data")
    return parent / name


def with_ranks(tp8: Path, count: int, parent: Path) -> Path:
    """Make the directory of a worker with `count` schedulers, each as rank 0 of `tp8`, and its servicer."""
    directory = parent / f"ranks-{count}"
    directory.mkdir()
    for path in tp8.glob(f"*_{_SERVICER_PID}.db"):
        (directory / path.name).write_bytes(path.read_bytes())
    for path in tp8.glob(f"*_{_RANK_PID}.db"):
        for rank in range(count):
            copy = directory / path.name.replace(_RANK_PID, str(int(_SERVICER_PID) + 1 + rank))
            _write(copy, _with_rank(_entries(path), str(rank)))
    return directory


def add_dead_processes(tp1: Path, count: int) -> None:
    """Add to a copy of `tp1` the files of `count` dead processes, one of each kind.

    Four are the live scheduler's, as its predecessors would have left them.
    """
    entries = {kind: [*_entries(tp1 / f"{kind}_{LIVE_PIDS[0]}.db")] for kind in _SHARED_KINDS}
    for kind in _KINDS_OF_THEIR_OWN:
        names = (f"sglang:{kind}_{number}" for number in range(2))
        entries[kind] = [(mmap_key(name, name, [], [], "Made up."), 1.0, 0.0) for name in names]
    for kind, some in entries.items():
        for pid in range(_FIRST_DEAD_PID, _FIRST_DEAD_PID + count):
            _write(tp1 / f"{kind}_{pid}.db", some)


Entry = tuple[str, float, float]
"""Key, value and stamp."""


def _entries(path: Path) -> Iterator[Entry]:
    for key, value, stamp, _ in MmapedDict.read_all_values_from_file(str(path)):
        yield key, value, stamp


def _write(path: Path, entries: Iterable[Entry]) -> None:
    file = MmapedDict(str(path))
    for key, value, stamp in entries:
        file.write_value(key, value, stamp)
    file.close()


def _with_rank(entries: Iterator[Entry], rank: str) -> Iterator[Entry]:
    for key, value, stamp in entries:
        family, sample, labels, help_text = json.loads(key)
        if "tp_rank" in labels:
            labels["tp_rank"] = rank
        yield mmap_key(family, sample, list(labels), list(labels.values()), help_text), value, stamp
