"""All samples of a worker in the order of the exposition, in blocks: what changed is merged anew, block by block.

A block is what is read at once: a histogram, a series that several processes share, or a run of simple series. The
table knows for each number of each file which block it belongs to, so the changes of the files tell which blocks to
read. All others stay the objects they are, which tells the renderer to leave their text alone.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple, TypeAlias

from exporter.multiproc.merge import Vector, exact_sum
from exporter.multiproc.series import Family, Labels, Series, Source

_LONGEST_RUN = 32
"""Simple series in a block: few enough to leave most lines alone when little changed."""

_NOBODY = -1
"""The block of numbers that no series has."""

_Run: TypeAlias = list[tuple[Source, int, int | None, Sequence[float]]]
"""Series of one number each: its source and index, the index of its stamp if that matters, and what is to be added."""


class ExportedFamily(NamedTuple):
    """A family as it is exported, but for the values."""

    name: str
    type: str
    help: str
    series: list[Series]

    @property
    def samples(self) -> list[tuple[str, Labels]]:
        """Name and labels of each sample."""
        return [sample for series in self.series for sample in series.samples]


class Snapshot(NamedTuple):
    """The families and the values of all their samples at one moment."""

    families: Sequence[ExportedFamily]
    """By name; another object when they are other ones, or have other samples."""
    blocks: Sequence[Vector]
    """The values of the samples, in order; a block is another object when a value of it is another."""


class Table:
    """The samples of some families; good until series come or go, or a gauge is set for the first time."""

    def __init__(self, families: Iterable[Family], files: Iterable[Source]) -> None:
        """Lay out the samples of `families`, whose sources are among `files`, and take in their values."""
        self._owners = {file: [_NOBODY] * len(file.values) for file in files}
        """The block of each number of each file."""
        self._reads: list[Callable[[], Vector]] = []
        """What merges the values of each block."""
        self._run: _Run = []
        """The last block, if that is a run; it may become longer."""
        exported = [
            ExportedFamily(family.name, family.type, family.help, list(filter(self._lay_out, family)))
            for family in families
        ]
        self.snapshot = Snapshot(exported, [read() for read in self._reads])

    def update(self, changed_files: Iterable[Source]) -> bool:
        """Take in the changes of files; return False where another table is needed to hold them."""
        touched: set[int] = set()
        for file in changed_files:
            owners = self._owners[file]
            if len(owners) != len(file.values):
                return False
            for places in file.changes:
                touched.update(owners[places])
        touched.discard(_NOBODY)
        before = self.snapshot.blocks
        fresh = {number: values for number in touched if (values := self._reads[number]()) != before[number]}
        if any(len(values) != len(before[number]) for number, values in fresh.items()):
            return False
        if fresh:
            blocks = list(before)
            for number, values in fresh.items():
                blocks[number] = values
            self.snapshot = Snapshot(self.snapshot.families, blocks)
        return True

    def _lay_out(self, series: Series) -> bool:
        """Find a block for a series; return whether it has samples to put there."""
        read = series.reader()
        has_samples = bool(read())
        if has_samples and series.is_plain and series.rule.type != "histogram":
            self._extend_run(series)
        else:
            self._reads.append(read)  # without samples, too: it tells when a gauge is set for the first time
            self._run = []
        for source, index in series.places:
            self._owners[source][index] = len(self._reads) - 1
        return has_samples

    def _extend_run(self, series: Series) -> None:
        """Put a series of one number into a run."""
        if len(self._run) in (0, _LONGEST_RUN):
            self._run = []
            self._reads.append(partial(_read_run, self._run))
        (source, index), *stamp = series.places
        stamp_index = stamp[0][1] if stamp else None
        self._run.append((source, index, stamp_index, [number for number, *_ in series.base]))


def _read_run(run: _Run) -> Vector:
    return tuple(
        [
            exact_sum((source.values[index], *constants)) if constants else source.values[index]
            for source, index, stamp, constants in run
            if stamp is None or source.values[stamp] > 0
        ]
    )
