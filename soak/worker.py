"""A simulated worker: its files, the sums expected of them as they come and go, and living processes.

All values are multiples of 1/8, so that sums are exact in any order.
"""

import shutil
import subprocess
import time
from array import array
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from mmap import mmap
from pathlib import Path
from random import Random

from prometheus_client.mmap_dict import MmapedDict

from soak.parts import Samples
from soak.samples import of_stock
from tests.support.files import bucket, counter, gauge, sample_key, total, write

KINDS = ("counter", "histogram", "summary", "gauge_all", "gauge_livesum", "gauge_mostrecent")
"""Kinds of files that each process has."""

Amount = float | tuple[float, float]
"""A value, or a value and its time stamp."""


def entries(chance: Random, pid: str) -> dict[str, dict[str, Amount]]:
    """Return a process's entries, by kind of file."""

    def amount() -> float:
        return chance.randint(1, 800) / 8

    of_process = {"rank": pid}
    return {
        "counter": {counter("soak"): amount(), counter("soak_by_rank", **of_process): amount()},
        "histogram": {
            total("soak_seconds"): amount(),
            **{bucket("soak_seconds", le): float(chance.randint(1, 99)) for le in ("0.1", "1.0", "+Inf")},
        },
        "summary": {
            sample_key("soak_size", "soak_size_count", {}): float(chance.randint(1, 99)),
            total("soak_size"): amount(),
        },
        "gauge_all": {gauge("soak_load", **of_process): amount(), gauge("soak_queue"): amount()},
        "gauge_livesum": {gauge("soak_running"): amount(), gauge("soak_waiting"): amount()},
        "gauge_mostrecent": {gauge("soak_state"): (amount(), time.time())},
    }


def write_file(path: Path, chance: Random) -> Path:
    """Write a process's file, of the kind and pid in its name, atomically; an old one is replaced."""
    kind, _, pid = path.stem.rpartition("_")
    return write(path.parent.with_suffix(".staged"), entries(chance, pid)[kind]).replace(path)


def files_of(directory: Path, pids: Iterable[int]) -> list[Path]:
    """Return the paths of these processes' files."""
    return [directory / f"{kind}_{pid}.db" for pid in pids for kind in KINDS]


def make_directory(directory: Path, chance: Random, pids: Iterable[int]) -> Path:
    """Make a directory with the files of these processes."""
    directory.mkdir()
    for path in files_of(directory, pids):
        write_file(path, chance)
    return directory


class Shares:
    """The expected sums: stock's merge of copies of the files as last known good, vanished files included."""

    def __init__(self, room: Path) -> None:
        self._room = room
        self.start_anew()

    def take(self, *paths: Path) -> None:
        """Replace the copies of files by their present contents."""
        for path in paths:
            shutil.copyfile(path, self._present / path.name)

    def let_go(self, *paths: Path) -> None:
        """Mark files as vanished: keep their last copies in the sums, except gauges, which are dropped."""
        for path in paths:
            copy = self._present / path.name
            if path.name.startswith("gauge"):
                copy.unlink()
            else:
                self._departures += 1
                (room := self._gone / str(self._departures)).mkdir()
                copy.rename(room / path.name)

    def start_anew(self) -> None:
        """Drop all copies: a new worker has replaced the old."""
        shutil.rmtree(self._room, ignore_errors=True)
        self._present, self._gone = self._room / "present", self._room / "gone"
        self._present.mkdir(parents=True)
        self._gone.mkdir()
        self._departures = 0

    def samples(self) -> Samples:
        """Return the samples that must be served."""
        return of_stock(self._room.rglob("*.db"))


class Dials:
    """A file of many series whose values can all be set in one step."""

    def __init__(self, path: Path, series: int) -> None:
        key, name = (counter, "soak") if path.name.startswith("counter") else (gauge, "soak_load")
        keys = [key(name, number=f"{number:06}") for number in range(series)]
        write(path, dict.fromkeys(keys, 0.0))
        with path.open("r+b") as file:
            self._map = mmap(file.fileno(), 0)
        # All keys have the same length, so values are evenly spaced: after the header, a length, and a padded key.
        skip = 4 + len(keys[0]) + 8 - (len(keys[0]) + 4) % 8
        start, stride = (8 + skip) // 8, (skip + 16) // 8
        self._values = memoryview(self._map).cast("d")[start : start + stride * series : stride]

    def set(self, value: float) -> None:
        """Set all values."""
        self._values[:] = array("d", [value]) * len(self._values)


@contextmanager
def living(count: int) -> Iterator[list[int]]:
    """Yield the pids of `count` processes that live until the end of the block, or of this process."""
    with ExitStack() as stack:
        some = [
            stack.enter_context(subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL))
            for _ in range(count)
        ]
        yield [process.pid for process in some]


def grow(path: Path, chance: Random) -> None:
    """Increase every value of a file, as its writer would."""
    file = MmapedDict(str(path))
    for key, value, stamp in list(file.read_all_values()):
        file.write_value(key, value + chance.randint(0, 9), stamp and time.time())
    file.close()
