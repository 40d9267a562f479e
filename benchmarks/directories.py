"""Directories to measure: recorded ones, and larger ones made of their entries."""

import json
import random
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, product
from pathlib import Path

from prometheus_client import Histogram
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.utils import floatToGoString

_DATA = Path(__file__).parents[1] / "tests" / "data"
_MEMORY = Path("/dev/shm")  # noqa: S108 - a directory of our own is made there
_RANK_PID, _SERVICER_PID = "14112", "14120"
"""Pids in the recorded directory `tp8`: the scheduler of rank 0, and the servicer."""
LIVE_PIDS = ("14107", "14108")
"""Pids in the recorded directory `tp1`: the scheduler and the servicer."""
FIRST_DEAD_PID = 5_000_000
"""Above Linux' highest pid."""
_SHARED_KINDS = ("counter", "histogram", "gauge_all", "gauge_mostrecent")
_KINDS_OF_THEIR_OWN = ("summary", "gauge_livesum", "gauge_max")
_BOUNDS = [floatToGoString(bound) for bound in Histogram.DEFAULT_BUCKETS]
FILES_OF_A_DEAD_PROCESS = len(_SHARED_KINDS) + len(_KINDS_OF_THEIR_OWN)


@contextmanager
def workspace() -> Iterator[Path]:
    """Yield a temporary directory in memory, where worker's files should be too."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir=_MEMORY if _MEMORY.is_dir() else None) as path:
        yield Path(path)


def recorded(name: str, parent: Path) -> Path:
    """Unpack the recorded directory `tp1` or `tp8` into `parent`."""
    with tarfile.open(_DATA / f"sglang-{name}.tar.xz") as tar:
        tar.extractall(parent, filter="data")
    return parent / name


def with_ranks(tp8: Path, count: int, parent: Path) -> Path:
    """Make the directory of a worker with `count` copies of rank 0 of `tp8`, and its servicer."""
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
    """Add the files of `count` dead processes, one of each kind, to a copy of `tp1`.

    Four of a process's files are copies of the live scheduler's, as if left by its predecessors.
    """
    entries = {kind: [*_entries(tp1 / f"{kind}_{LIVE_PIDS[0]}.db")] for kind in _SHARED_KINDS}
    for kind in _KINDS_OF_THEIR_OWN:
        names = (f"sglang:{kind}_{number}" for number in range(2))
        entries[kind] = [(_key(name, name, {}), 1.0, 0.0) for name in names]
    for kind, some in entries.items():
        for number in range(count):
            # Every process set its gauges at a different moment.
            stamped = ((key, value, stamp and stamp + number) for key, value, stamp in some)
            _write(tp1 / f"{kind}_{FIRST_DEAD_PID + number}.db", stamped)


def web_application(parent: Path, processes: int) -> Path:
    """Make a web application's directory: all processes have the same series, each in another order."""
    directory = parent / f"web-application-{processes}"
    directory.mkdir()
    chance = random.Random(processes)  # noqa: S311 - the same order in each run
    for pid in range(FIRST_DEAD_PID, FIRST_DEAD_PID + processes):
        for kind, series in _web_application_series().items():
            keys = chain.from_iterable(chance.sample(series, len(series)))
            _write(directory / f"{kind}_{pid}.db", ((key, 1.0, 0.0) for key in keys))
    return directory


def _web_application_series() -> dict[str, list[list[str]]]:
    """Return the keys of each series, by kind of file."""
    counters, histograms = [], []
    for route, method in product(range(20), ("GET", "POST")):
        labels = {"route": f"/api/{route}", "method": method}
        counters += [
            [_key("http_requests", "http_requests_total", {**labels, "status": status})]
            for status in ("200", "404", "500")
        ]
        for family in ("http_seconds", "http_bytes"):
            buckets = [_key(family, f"{family}_bucket", {**labels, "le": bound}) for bound in _BOUNDS]
            histograms.append([_key(family, f"{family}_sum", labels), *buckets])
    return {"counter": counters, "histogram": histograms}


def _key(family: str, sample: str, labels: dict[str, str]) -> str:
    return mmap_key(family, sample, list(labels), list(labels.values()), "Made up.")


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
