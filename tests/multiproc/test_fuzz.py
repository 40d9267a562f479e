"""Files with random damage: each costs itself, and no more steps than its size allows."""

import os
import random
import shutil
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from exporter.multiproc import dbfile
from exporter.multiproc.collector import IncrementalCollector
from tests.support.compare import Samples, of_text, rendered, values

ROUNDS = 10
VICTIM = "14108"
OTHER = "14107"

Damage = Callable[[random.Random, bytearray], None]


def flip_bytes(chance: random.Random, data: bytearray) -> None:
    for _ in range(chance.randint(1, 50)):
        data[chance.randrange(used(data))] = chance.randrange(256)


def lie_about_use(chance: random.Random, data: bytearray) -> None:
    struct.pack_into(
        "=i", data, 0, chance.choice([chance.randint(-100, 2 * len(data)), -(2**31), 2**31 - 1, 9, 1])
    )


def lie_about_a_key(chance: random.Random, data: bytearray) -> None:
    position = chance.choice(entry_positions(data))
    length = chance.choice([chance.randint(-40, 40), chance.randint(-(2**31), 2**31 - 1), -28, -24, -21, 0])
    struct.pack_into("=i", data, position, length)


def truncate(chance: random.Random, data: bytearray) -> None:
    del data[chance.randrange(used(data)) :]


def blank_a_part(chance: random.Random, data: bytearray) -> None:
    start = chance.randrange(used(data))
    end = min(len(data), start + chance.randint(1, 5000))
    data[start:end] = bytes(end - start)


def shift(chance: random.Random, data: bytearray) -> None:
    position = chance.randrange(used(data))
    if chance.random() < 0.5:
        del data[position : position + chance.randint(1, 30)]
    else:
        data[position:position] = chance.randbytes(chance.randint(1, 30))


def replace_all(chance: random.Random, data: bytearray) -> None:
    data[:] = chance.randbytes(chance.randint(0, 5000))


def used(data: bytearray) -> int:
    return int(struct.unpack_from("=i", data)[0])


def entry_positions(data: bytearray) -> list[int]:
    """Return where the entries of a good file start."""
    positions = []
    position = 8
    while position < used(data):
        positions.append(position)
        (length,) = struct.unpack_from("=i", data, position)
        position += 4 + length + 8 - (length + 4) % 8 + 16
    return positions


class Steps:
    """Counts the work that reading takes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entries: Counter[int] = Counter()
        """Entries walked over by (a number of) the walk."""
        self.allowed: dict[int, int] = {}
        self.reads = 0
        walk, preadv, pread = dbfile._entries, os.preadv, os.pread

        def counted_walk(data: bytearray, position: int) -> Iterator[tuple[bytes, int]]:
            number = len(self.allowed)
            self.allowed[number] = len(data) // 24
            for entry in walk(data, position):
                self.entries[number] += 1
                assert self.entries[number] <= self.allowed[number], "more entries than fit"
                yield entry

        def counted_preadv(*args: object) -> int:
            self.reads += 1
            return preadv(*args)  # type: ignore[arg-type] # as it was called

        def counted_pread(*args: object) -> bytes:
            self.reads += 1
            return pread(*args)  # type: ignore[arg-type] # as it was called

        monkeypatch.setattr(dbfile, "_entries", counted_walk)
        monkeypatch.setattr(os, "preadv", counted_preadv)
        monkeypatch.setattr(os, "pread", counted_pread)


@pytest.fixture
def directory(recorded: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(recorded["tp1"], tmp_path / "worker"))


def of_process(samples: Samples, pid: str) -> Samples:
    return {key: value for key, value in samples.items() if ("pid", pid) in key[1]}


@pytest.mark.parametrize(
    "damage", [flip_bytes, lie_about_use, lie_about_a_key, truncate, blank_a_part, shift, replace_all]
)
def test_damage_costs_one_file(directory: Path, monkeypatch: pytest.MonkeyPatch, damage: Damage) -> None:
    chance = random.Random(damage.__name__)  # noqa: S311 - to be repeatable is the point
    victims = sorted(directory.glob(f"*_{VICTIM}.db"))
    good = {path: path.read_bytes() for path in victims}
    whole = IncrementalCollector(None, str(directory), per_process=True)
    intact = of_process(values(whole.collect()), OTHER)
    assert len(intact) > 400
    steps = Steps(monkeypatch)
    for _ in range(ROUNDS):
        path = chance.choice(victims)
        data = bytearray(good[path])
        damage(chance, data)
        path.write_bytes(data)
        for collector in (whole, IncrementalCollector(None, str(directory), per_process=True)):
            steps.reads = 0
            for _ in range(2):
                assert of_process(values(collector.collect()), OTHER) == intact
            assert steps.reads <= 60, "a few reads per file"
        path.write_bytes(good[path])


def test_damage_in_another_than_the_first_scrape_is_as_in_the_first(directory: Path) -> None:
    """What is served after damage is served whole: it parses, and no series is there twice."""
    chance = random.Random(1)  # noqa: S311 - to be repeatable is the point
    victims = sorted(directory.glob("*.db"))
    for _ in range(ROUNDS):
        path = chance.choice(victims)
        good = path.read_bytes()
        data = bytearray(good)
        chance.choice([flip_bytes, lie_about_a_key, truncate])(chance, data)
        path.write_bytes(data)
        collector = IncrementalCollector(None, str(directory))
        said = values(collector.collect())
        text, openmetrics = rendered(collector, "allow-utf-8")
        assert len(said) == sum(map(len, of_text(text).values()))
        assert openmetrics.endswith(b"# EOF\n")
        path.write_bytes(good)
