"""Files with random damage: each costs itself, and no more steps than its size allows."""

import os
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.multiproc import dbformat
from exporter.multiproc.collector import IncrementalCollector
from tests.support.compare import Samples, of_text, rendered, values
from tests.support.damage import DAMAGES, Damage, flip_bytes, lie_about_a_key, truncate

ROUNDS = 10
VICTIM = "14108"
OTHER = "14107"


class Steps:
    """Counts the work that reading takes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entries: Counter[int] = Counter()
        """Entries walked over by (a number of) the walk."""
        self.allowed: dict[int, int] = {}
        self.reads = 0
        walk, preadv, pread = dbformat._entries, os.preadv, os.pread

        def counted_walk(data: bytearray, position: int) -> Iterator[tuple[int, int]]:
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

        monkeypatch.setattr(dbformat, "_entries", counted_walk)
        monkeypatch.setattr(os, "preadv", counted_preadv)
        monkeypatch.setattr(os, "pread", counted_pread)


@pytest.fixture
def directory(recorded: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(recorded["tp1"], tmp_path / "worker"))


def of_process(samples: Samples, pid: str) -> Samples:
    return {key: value for key, value in samples.items() if ("pid", pid) in key[1]}


@pytest.mark.parametrize("damage", DAMAGES)
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
        text, openmetrics = rendered(collector.engine.snapshot, "allow-utf-8")
        assert len(said) == sum(map(len, of_text(text).values()))
        assert openmetrics.endswith(b"# EOF\n")
        path.write_bytes(good)
