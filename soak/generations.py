"""Files that come and go by the thousand: all removed at once, half of them removed, or replaced."""

from collections.abc import Sequence
from ctypes import c_double
from multiprocessing.sharedctypes import RawValue
from pathlib import Path
from random import Random

from prometheus_client.mmap_dict import MmapedDict

from benchmarks.directories import workspace
from soak.exporter import exporter
from soak.parts import Part
from soak.processes import beside
from soak.worker import Shares, files_of, living, write_file

_FAST = 2000
"""Generations that follow one another without pause: the exporter may miss any of them."""
_MOST_AT_ONCE = 6
"""Most files of a fast generation."""
_SLOW = 2
"""Generations that the exporter is given time to read, so that the sums are known."""
_DEAD = range(5_000_000, 5_000_003)
"""Pids above Linux' highest."""


def generations(part: Part) -> None:
    """Let generations of files come and go beside a living writer's files; then remove all, for a new worker."""
    sums = part.promise("shares of vanished files stay in sums, their gauges go")
    bounds = part.promise("no share counts twice, however fast files come and go")
    anew = part.promise("once all files have vanished, counting starts anew")
    total = RawValue(c_double)
    with workspace() as room, living(3) as (keeper, *others):
        (directory := room / "worker").mkdir()
        shares = Shares(room / "shares")
        stay = files_of(directory, [keeper])
        pass_by = files_of(directory, [*others, *_DEAD])
        counted = [
            *files_of(directory, others),
            *(p for p in files_of(directory, _DEAD) if "live" not in p.name),
        ]
        with exporter(part, directory) as subject:
            for number in part.rounds(least=2):
                shares.take(*(write_file(path, part.chance) for path in stay))
                subject.settles(anew, shares.samples(), f"worker {number}, at its start")
                for generation in range(_SLOW):
                    when = f"worker {number}, generation {generation}"
                    _come(counted, part.chance, shares)
                    subject.settles(sums, shares.samples(), when)
                    shares.let_go(*_go(counted, part.chance))
                    subject.settles(sums, shares.samples(), f"{when}, some gone or replaced")
                    part.done["generations waited for"] += 1
                most = subject.last.samples["soak_total"]
                with beside(_hurry, pass_by, part.chance.random(), total) as hurrying:
                    while hurrying.is_alive():
                        subject.scrape()
                part.done["generations in a hurry"] += _FAST
                subject.says(
                    bounds, 'smg_exporter_files{state="live"}', len(stay), f"worker {number}, others gone"
                )
                most += total.value
                got = subject.last.samples["soak_total"]
                bounds.check(got <= most, f"worker {number}: expected soak_total up to {most}, got {got}")
                subject.empty(directory, anew)
                shares.start_anew()
                if number == 0:
                    subject.note_resources()
            subject.check_resources()


def _come(paths: Sequence[Path], chance: Random, shares: Shares) -> None:
    """Write all files, replacing old ones."""
    shares.let_go(*filter(Path.exists, paths))
    shares.take(*(write_file(path, chance) for path in paths))


def _go(paths: Sequence[Path], chance: Random) -> list[Path]:
    """Remove all files, or half of them; return those removed."""
    there = list(filter(Path.exists, paths))
    gone = chance.sample(there, len(there) // chance.choice((1, 2)))
    for path in gone:
        path.unlink()
    return gone


def _hurry(paths: Sequence[Path], seed: float, total: c_double) -> None:
    """Let generations come and go without pause; sum up in `total` the written values of a counter."""
    chance = Random(seed)  # noqa: S311 - to be repeatable is the point
    total.value = 0.0
    for _ in range(_FAST):
        for path in chance.sample(paths, chance.randint(1, _MOST_AT_ONCE)):
            write_file(path, chance)
            if path.name.startswith("counter"):
                total.value += next(iter(MmapedDict.read_all_values_from_file(str(path))))[1]
        _go(paths, chance)
    for path in filter(Path.exists, paths):
        path.unlink()
