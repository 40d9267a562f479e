"""Memory over many scrapes: all values change beside bad files; new series at every scrape; a large worker."""

import os
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from random import Random

from prometheus_client.mmap_dict import MmapedDict

from benchmarks.directories import recorded, workspace
from benchmarks.traffic import SOME, Traffic
from soak.exporter import MOST_GROWTH, Exporter, exporter
from soak.parts import Part, Promise
from soak.samples import of_stock
from soak.worker import KINDS, Dials, living, write_file
from tests.support.damage import make_unreadable
from tests.support.files import counter

_BAD = range(5_000_000, 5_000_096)
"""Pids above Linux' highest, of 96 damaged files; four more of the 100 bad files are no writer's."""
_SERIES = 100
"""Series of each file whose values all change."""
_FROM = 500
"""The scrape at which memory is noted."""
_COMPARED = 100
"""Scrapes between two comparisons with stock."""
_NEW_SERIES = 250
"""Scrapes per worker, each with new series."""
_MOST_MEMORY = 64.0
"""Most MiB of the exporter of the recorded worker with 8 ranks."""
_CHANGED = 10
"""Scrapes between two changes of a fifth of all lines."""


def changing(part: Part) -> None:
    """Change all values before every scrape, beside 100 files that are permanently bad."""
    sums = part.promise(f"every {_COMPARED}th scrape equals stock's on the good files")
    with workspace() as room, living(2) as pids:
        (directory := room / "worker").mkdir()
        dials = [
            Dials(directory / f"{kind}_{pid}.db", _SERIES)
            for kind in ("counter", "gauge_livesum")
            for pid in pids
        ]
        good = sorted(directory.iterdir())
        _add_bad_files(directory, part.chance)
        with exporter(part, directory, since=f"scrape {_FROM}") as subject:
            for number in part.rounds(least=2 * _FROM):
                for dial in dials:
                    dial.set(number)
                if number % _COMPARED:
                    subject.fetch()
                else:
                    sums.equal(of_stock(good), subject.scrape().samples, f"scrape {number}")
                if number == _FROM:
                    subject.note_resources()
                part.done["scrapes with all values changed"] += 1
            subject.check_resources()


def new_series(part: Part) -> None:
    """Add new series to all files before every scrape, for one worker after another."""
    sums = part.promise(f"every {_COMPARED}th scrape equals stock's")
    compared = part.promise(
        f"at most {MOST_GROWTH:g} MiB more than an exporter that starts with all the series"
    )
    since = "the first worker"
    with workspace() as room, living(4) as pids:
        (directory := room / "worker").mkdir()
        with exporter(part, directory, since=since) as subject:
            for number in part.rounds(least=2):
                _grow(part, subject, sums, directory, pids)
                if number == 0:
                    with exporter(part, directory, since=since) as fresh:
                        fresh.settles(
                            sums, of_stock(directory.iterdir()), "an exporter that starts with all the series"
                        )
                        least, most = fresh.resources.memory, subject.resources.memory
                    compared.at_most(most - least, MOST_GROWTH, f"{most - least:+.1f} MiB of {least:.1f}")
                subject.empty(directory, sums)
                if number == 0:
                    subject.note_resources()
            subject.check_resources()


def _grow(part: Part, subject: Exporter, sums: Promise, directory: Path, pids: Sequence[int]) -> None:
    """Write files, and add to them before each scrape a series per process, and one common to all."""
    with ExitStack() as stack:
        files = {
            pid: stack.enter_context(closing(MmapedDict(f"{directory}/counter_{pid}.db"))) for pid in pids
        }
        for number in range(_NEW_SERIES):
            for pid, file in files.items():
                file.write_value(counter("soak", number=str(number)), 1.0, 0.0)
                file.write_value(counter("soak_by_rank", number=str(number), rank=str(pid)), 1.0, 0.0)
            when = f"scrape {number} of a worker"
            if number == 0:
                subject.settles(sums, of_stock(directory.iterdir()), when)
            elif number % _COMPARED:
                subject.fetch()
            else:
                sums.equal(of_stock(directory.iterdir()), subject.scrape().samples, when)
            part.done["scrapes with new series"] += 1


def memory(part: Part) -> None:
    """Scrape the exporter of a large worker again and again."""
    sums = part.promise("the last scrape equals stock's")
    resident = part.promise(f"resident memory of an exporter for 8 ranks: {_MOST_MEMORY:g} MiB at most")
    with (
        workspace() as room,
        closing(Traffic((directory := recorded("tp8", room)).iterdir())) as traffic,
        exporter(part, directory, "--liveness=off", since=f"scrape {_FROM}") as subject,
    ):
        for number in part.rounds(least=2 * _FROM):
            if number % _CHANGED == 0:
                traffic.change(SOME)
            subject.fetch()
            if number == _FROM:
                subject.note_resources()
            part.done["scrapes"] += 1
        found = subject.resources.memory
        resident.at_most(found, _MOST_MEMORY, f"{found:.1f} MiB")
        sums.equal(of_stock(directory.iterdir()), subject.scrape().samples, "in the end")
        subject.check_resources()


def _add_bad_files(directory: Path, chance: Random) -> None:
    """Add 100 entries that cannot be read: damaged files, and entries that no writer makes."""
    for pid in _BAD:
        path = write_file(directory / f"{chance.choice(KINDS)}_{pid}.db", chance)
        data = bytearray(path.read_bytes())
        make_unreadable(chance, data)
        path.write_bytes(data)
    (directory / "counter_1.db").mkdir()
    (directory / "counter_2.db").symlink_to("counter_1.db")
    os.mkfifo(directory / "counter_3.db")
    with (directory / "counter_4.db").open("wb") as file:
        file.truncate(1 << 30)
