"""Files with random damage beside good ones: a damaged file must not affect the others."""

import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from ctypes import c_ulong
from multiprocessing.sharedctypes import RawValue
from pathlib import Path
from random import Random
from typing import NamedTuple

from benchmarks.directories import LIVE_PIDS, recorded, workspace
from soak.exporter import exporter
from soak.parts import Part
from soak.processes import beside
from soak.samples import of_stock
from soak.worker import make_directory
from tests.support.damage import DAMAGES, used
from tests.support.files import gauge, looks, write

_FIRST_PID = 5_000_000
"""Above Linux' highest pid."""
_VICTIMS = 800
"""Mutated files of a directory: half from the start, half in place after they were read."""
_SHAKEN = 10
"""Files that are truncated and restored all the time."""
_WARM_UP = 10
"""Rounds of mutations before memory is noted."""
_PAUSE = 0.0005
"""Seconds between two cuts."""


class _Base(NamedTuple):
    """A good file to damage."""

    kind: str
    data: bytes

    @classmethod
    def of(cls, path: Path) -> "_Base":
        data = path.read_bytes()
        return cls(path.stem.rpartition("_")[0], data[: used(bytearray(data)) + 64])

    def damaged(self, chance: Random) -> bytes:
        data = bytearray(self.data)
        chance.choice(DAMAGES)(chance, data)
        return bytes(data)


def mutations(part: Part) -> None:
    """Install directories with mutated files beside good ones, and mutate more files after they were read."""
    healthy = part.promise("every sample of the good files equals stock's")
    untouched = part.promise("nothing in the directory is written, renamed or removed")
    cuts = RawValue(c_ulong)
    with workspace() as room:
        good = recorded("tp1", room)
        expected = {
            key: value
            for pid in LIVE_PIDS
            for key, value in of_stock(good.glob(f"*_{pid}.db"), {"pid": pid}).items()
        }
        made = make_directory(room / "made", part.chance, range(10))
        bases = [_Base.of(path) for path in (*sorted(made.iterdir()), *good.glob(f"[cg]*_{LIVE_PIDS[1]}.db"))]
        directory = room / "worker"
        directory.mkdir()
        with (
            exporter(part, directory, "--liveness=off", "--per-process") as subject,
            beside(_cut, directory, bases[0].data, part.chance.random(), cuts),
        ):

            def rest() -> None:
                subject.start_anew()
                _swap(directory, Path(shutil.copytree(good, directory.with_suffix(".new"))))
                subject.settles(healthy, expected, "good files alone")

            for number in part.rounds(least=25):
                subject.start_anew()
                victims = _put_in_place(directory, good, bases, part.chance, number)
                this_round = {f'soak_round{{pid="{_FIRST_PID}"}}': float(number)}
                when = f"round {number}, mutated from the start"
                subject.settles(healthy, {**expected, **this_round}, when, others=True)
                for path, base in victims:
                    path.write_bytes(base.damaged(part.chance))
                before = _looks(directory)
                healthy.equal(
                    expected, subject.scrape().samples, f"round {number}, mutated in place", others=True
                )
                untouched.check(_looks(directory) == before, f"round {number}: something is not as it was")
                part.done["files mutated"] += _VICTIMS
                if number == _WARM_UP:
                    rest()
                    subject.note_resources()
            part.done["cut short while read"] = cuts.value
            rest()
            subject.check_resources()


def _put_in_place(
    directory: Path, good: Path, bases: Sequence[_Base], chance: Random, number: int
) -> list[tuple[Path, _Base]]:
    """Replace the directory by a new one; return the files, still good, that are to be mutated."""
    new = Path(shutil.copytree(good, directory.with_suffix(".new")))
    write(new / f"gauge_max_{_FIRST_PID}.db", {gauge("soak_round"): float(number)})
    victims = []
    for pid in range(_FIRST_PID + 1, _FIRST_PID + 1 + _VICTIMS):
        base = bases[pid % len(bases)]
        path = new / f"{base.kind}_{pid}.db"
        if pid % 2:
            path.write_bytes(base.damaged(chance))
        else:
            path.write_bytes(base.data)
            victims.append((directory / path.name, base))
    for path in _shaken(new):
        path.write_bytes(bases[0].data)
    _swap(directory, new)
    return victims


def _swap(directory: Path, new: Path) -> None:
    """Replace one directory by another."""
    old = directory.rename(directory.with_suffix(".old"))
    new.rename(directory)
    shutil.rmtree(old)


def _shaken(directory: Path) -> list[Path]:
    return [directory / f"counter_{_FIRST_PID - 1 - number}.db" for number in range(_SHAKEN)]


def _cut(directory: Path, good: bytes, seed: float, cuts: c_ulong) -> None:
    """Truncate and restore files until killed."""
    chance = Random(seed)  # noqa: S311 - to be repeatable is the point
    paths = _shaken(directory)
    while True:
        with suppress(FileNotFoundError), chance.choice(paths).open("r+b") as file:
            file.truncate(chance.randrange(len(good)))
            time.sleep(_PAUSE)
            file.write(good)
        cuts.value += 1


def _looks(directory: Path) -> dict[str, tuple[object, ...]]:
    shaken = {path.name for path in _shaken(directory)}
    return {name: look for name, look in looks(directory).items() if name not in shaken}
