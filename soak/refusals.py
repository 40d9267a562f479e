"""Files of living writers that are unreadable for a while, rewritten or removed: their shares in the sums."""

import struct
from pathlib import Path
from random import Random

from benchmarks.directories import workspace
from soak.exporter import exporter
from soak.parts import Part
from soak.worker import Shares, grow, living, make_directory, write_file
from tests.support.damage import entry_positions, make_unreadable

_REWRITTEN = 3
"""Files that are rewritten in place in each round."""


def refusals(part: Part) -> None:
    """Damage files of living writers so that they are refused; then make them good again, rewrite or remove them."""
    refused = part.promise("a refused file of a living writer keeps its last good share")
    closed = part.promise("a refused file is not held open")
    after = part.promise("once files are good again, rewritten in place or gone, each share counts once")
    with workspace() as room, living(6) as pids:
        directory = make_directory(room / "worker", part.chance, pids)
        shares = Shares(room / "shares")
        shares.take(*directory.iterdir())
        with exporter(part, directory) as subject:
            subject.settles(after, shares.samples(), "at the start")
            subject.note_resources()
            descriptors = subject.resources.descriptors
            for number in part.rounds(least=2):
                files = sorted(directory.iterdir())
                victims = part.chance.sample(files, len(files) // 2)
                good = {path: path.read_bytes() for path in victims}
                for path, data in good.items():
                    bad = bytearray(data)
                    make_unreadable(part.chance, bad)
                    _overwrite(path, bad)
                for _ in range(3):
                    refused.equal(
                        shares.samples(), subject.scrape().samples, f"round {number}, while refused"
                    )
                subject.holds_at_most(closed, descriptors - len(good), f"round {number}, while refused")
                for path, data in good.items():
                    _end_refusal(path, data, part.chance, shares)
                part.done["files refused"] += len(good)
                for path in part.chance.sample(sorted({*files} - {*good}), _REWRITTEN):
                    _rewrite(path, part.chance, shares)
                part.done["rewritten in place"] += _REWRITTEN
                subject.settles(after, shares.samples(), f"round {number}, no file refused any more")
                for path in files:
                    if not path.exists():
                        shares.take(write_file(path, part.chance))
                subject.settles(after, shares.samples(), f"round {number}, new files in place of those gone")
            subject.check_resources()


def _overwrite(path: Path, data: bytes | bytearray) -> None:
    """Overwrite a file's contents in place (same inode)."""
    with path.open("r+b") as file:
        file.write(data)
        file.truncate()


def _end_refusal(path: Path, good: bytes, chance: Random, shares: Shares) -> None:
    """Restore a file, with grown values or not, or remove it."""
    if (fate := chance.randrange(3)) == 0:
        path.unlink()
        shares.let_go(path)
        return
    _overwrite(path, good)
    if fate == 1:
        grow(path, chance)
    shares.take(path)


def _rewrite(path: Path, chance: Random, shares: Shares) -> None:
    """Write other keys into a file, or lower its count of used bytes: no writer does either."""
    data = bytearray(path.read_bytes())
    positions = entry_positions(data)
    shares.let_go(path)
    if path.name.startswith("histogram") or len(positions) == 1 or chance.random() < 0.5:
        names = (b"soak", b"Soak") if b"soak" in data else (b"Soak", b"soak")
        data = data.replace(*names)
    else:
        struct.pack_into("=i", data, 0, positions[1])
    _overwrite(path, data)
    shares.take(path)
