"""One kind of file: `counter`, `gauge_livesum`, ... A small engine of its own, which knows nothing of other kinds.

A series is the merge of three shares:

- of followed files, mostly of live writers: they are read and merged at each update;
- of dead writers' files, which are read once more: their last cells are constants, remembered file by file, so that
  they can be taken back when the file goes, or when another process goes on with it (`dead`);
- of files that are gone: their last counters, histograms and summaries stay in the constants for ever.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from enum import Enum
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING

from exporter.multiproc.blocks import Block, Layout
from exporter.multiproc.budget import Budget
from exporter.multiproc.dbfile import DbFile, Fingerprint, Found, read_once
from exporter.multiproc.dbformat import Shapes
from exporter.multiproc.dead_shares import LINGER, Dead
from exporter.multiproc.families import Families
from exporter.multiproc.faults import BadFileError, Fault
from exporter.multiproc.fileset import File, Plan
from exporter.multiproc.listing import stock_pid
from exporter.multiproc.liveness import State
from exporter.multiproc.merge import RULES, Row
from exporter.multiproc.metric_names import MetricNames
from exporter.multiproc.placement import Placement
from exporter.multiproc.refusals import Refusals
from exporter.multiproc.series import Family, Series

if TYPE_CHECKING:
    from exporter.model import FamilyValues

_CLOCK_SLACK = 60.0
"""Seconds by which a writer's clock may be ahead of ours."""
_STAMP = itemgetter(1)


class Change(Enum):
    """What an update changed in the families of a kind."""

    NOTHING = "nothing"
    VALUES = "values"
    FAMILIES = "families, or samples of them"


@dataclass(slots=True)
class Findings:
    """What an update found while it read files."""

    last_stamp: float
    """The newest stamp of a `mostrecent` gauge, in Unix seconds; 0 if there is none."""
    now: float
    """When the update began, in seconds of the engine's clock."""
    moved: set[str] = field(default_factory=set)
    """Writers that are not known to live, but have files that changed since the last read."""
    change: bool = False
    """Whether a value changed since the last read."""
    news: bool = False
    """Whether other files may be refused, or other samples left out, than before."""
    read: int = 0
    """Number of files read so far."""


class Followed:
    """A file that is read at every update."""

    def __init__(self, file: File, db: DbFile) -> None:
        self.file = file
        self.db = db
        self.cells: Row = ()
        """The file's cells as of the last good read, by entry."""
        self.blocks: list[Block | None] = []
        """The block that each cell is merged in; None for a cell without a block."""
        self.placement: Placement | None = None
        """The series and column of each cell; None before the first good read."""
        self.last_sign: float | None = None
        """When a dead writer last seemed to live or to write, by the engine's clock; None unless it is dead."""
        self._blocks_of: dict[tuple[int, int], set[Block | None]] = {}
        """What `blocks_of` returned, by the ends of the slice."""

    def blocks_of(self, cells: slice) -> set[Block | None]:
        """Return the distinct blocks of a slice of `DbFile.changes`; remembered, since these slices recur."""
        ends = cells.start, cells.stop
        found = self._blocks_of.get(ends)
        if found is None:
            found = self._blocks_of[ends] = set(self.blocks[cells])
        return found

    def forget_blocks(self) -> None:
        """Forget what `blocks_of` remembers, as cells are about to get other blocks."""
        self._blocks_of.clear()

    def close(self) -> None:
        """Close the file for good; its blocks, which refer back to it, are released."""
        self.db.close()
        self.forget_blocks()
        self.blocks.clear()


class Kind:
    """The files of one kind, merged."""

    def __init__(
        self,
        name: str,
        directory: str,
        names: MetricNames,
        refusals: Refusals,
        errors: Counter[str],
        *,
        labels: Collection[tuple[str, str]],
        per_process: bool,
        max_file_size: int,
        scratch: bytearray,
        budget: Budget | None = None,
    ) -> None:
        self.rule = RULES[name]
        self.values: dict[Family, FamilyValues] = {}
        """The samples and values of each family, as of the last `arrange`."""
        self.left_out: dict[str, Fault] = {}
        """Why samples of a file are left out, by file name."""
        self._directory = directory
        self._refusals = refusals
        self._errors = errors
        self._max_file_size = max_file_size
        self._scratch = scratch
        self._per_process = per_process
        self._shapes = Shapes(stamped=self.rule.stamped)
        self._families = Families(name, names, errors, labels=labels, per_process=per_process, budget=budget)
        self._dead = Dead(self.rule, self._families)
        self._followed: dict[str, Followed] = {}
        """All followed files, by name."""
        self._reading: dict[str, Followed] = {}
        """The followed files that are not refused, by name."""
        self._unread: dict[str, File] = {}
        """Dead writers' files that the next update reads once, by name."""
        self._layouts: dict[Family, Layout] = {}
        self._touched: set[Block | None] = set()
        """Blocks that must be merged again, since cells of theirs changed."""

    @property
    def followed(self) -> int:
        """Number of followed files."""
        return len(self._followed)

    def note_faults_again(self) -> None:
        """Renew `left_out`, since families that were refused for their names may be exported now."""
        for name in list(self.left_out):
            one = self._followed.get(name)
            placement = one.placement if one and one.placement else self._dead.placement_of(name)
            self._note_faults(name, placement)

    def close(self) -> None:
        """Close all files, and free the kind's memory at once, not when Python next looks for reference cycles."""
        for one in self._followed.values():
            one.close()
            one.placement = None
        self._families.clear()

    def take(self, file: File, *, is_young: bool, stays_open: bool) -> None:
        """Take a file in, or take over its new state and plan.

        A young file of a dead writer is followed for a while, as if the writer had just died. A followed file that does
        not stay open is opened for each read.
        """
        name = file.name
        if name in self._followed:
            self._followed[name].file = file
        elif file.plan is Plan.FOLLOW or (is_young and name not in self._dead):
            db = DbFile(
                f"{self._directory}/{name}",
                file.identity,
                self._shapes,
                max_size=self._max_file_size,
                scratch=self._scratch,
                stays_open=stays_open,
            )
            self._followed[name] = self._reading[name] = Followed(file, db)
        else:
            self._unread[name] = file

    def drop(self, name: str) -> None:
        """Drop a file; its share in counters, histograms and summaries stays."""
        self._unread.pop(name, None)
        self._reading.pop(name, None)
        self._refusals.accept(name)
        self.left_out.pop(name, None)
        if one := self._followed.pop(name, None):
            one.close()
            self._let_go(one, one.cells)
        if name in self._dead:
            self._dead.drop(name)

    def read(self, findings: Findings) -> None:
        """Read the followed files that are not refused, and dead writers' files that are still to be read once."""
        unread, self._unread = self._unread, {}
        for file in unread.values():
            self._read_last(file, findings)
            findings.read += 1
        for one in list(self._reading.values()):
            self._read(one, findings)
            findings.read += 1

    def retry(self, file: File, seen: Fingerprint | None, findings: Findings) -> None:
        """Read a refused file again; `seen` is its fingerprint from just before."""
        one = self._followed.get(file.name)
        if one is None:
            self._read_last(file, findings, seen)
        elif self._read(one, findings, seen):
            self._refusals.accept(file.name)
            findings.news = True
            if file.name in self._followed:
                self._reading[file.name] = one

    def arrange(self) -> Change:
        """Merge what the last `read` changed, renew `values`, and return what changed in them."""
        self._dead.apply()
        self._families.forget_slots()
        self._shapes.shrink()
        touched, self._touched = self._touched, set()
        dirty, self._families.dirty = self._families.dirty, set()
        changed: set[Family] = set()
        for block in touched:
            if block is None or (dirty and not dirty.isdisjoint(block.series)):
                continue
            values = block.read()
            if values != block.values:
                if len(values) != len(block.values):  # a `mostrecent` gauge was set for the first time
                    dirty.update(block.series)
                block.values = values
                changed.add(block.family)
        for family in changed:
            self.values[family] = self._layouts[family].values()
        if dirty:
            self._lay_out(dirty)
            return Change.FAMILIES
        return Change.VALUES if changed else Change.NOTHING

    def _lay_out(self, dirty: Iterable[Series]) -> None:
        """Lay out again the series that came, went, or are in other files than before."""
        by_family: defaultdict[Family, set[Series]] = defaultdict(set)
        for series in dirty:
            by_family[series.family].add(series)
        for one in self._followed.values():
            one.forget_blocks()
        placements = dict.fromkeys(one.placement for one in self._followed.values() if one.placement)
        for family, some in by_family.items():
            if family in self._families:
                layout = self._layouts.get(family) or Layout(family, self.rule)
                layout.renew(some, placements)
                self._layouts[family], self.values[family] = layout, layout.values()
            else:
                self._layouts.pop(family, None)
                self.values.pop(family, None)

    def _read_last(self, file: File, findings: Findings, seen: Fingerprint | None = None) -> None:
        """Read a dead writer's file once, and keep its cells as a constant."""
        try:
            contents = read_once(
                f"{self._directory}/{file.name}", file.identity, self._shapes, max_size=self._max_file_size
            )
        except FileNotFoundError:  # the file went, or was replaced: the next file set will tell
            self._unread[file.name] = file
        except BadFileError as error:
            findings.news |= self._refuse(file, error.fault, seen)
        else:
            self._refusals.accept(file.name)
            findings.news = True
            placement = self._families.placement_of(contents.shape, contents.keys(), self._pid(file))
            self._dead.bury(file.name, placement, contents.cells())
            self._note_faults(file.name, placement)

    def _read(self, one: Followed, findings: Findings, seen: Fingerprint | None = None) -> bool:
        """Read a followed file; return whether it could be read."""
        file, before = one.file, one.cells
        try:
            found = one.db.read()
        except FileNotFoundError:  # the file went, or was replaced: the next file set will tell
            return False
        except BadFileError as error:
            findings.news |= self._refuse(file, error.fault, seen)
            one.db.close()
            self._reading.pop(file.name, None)
            return False
        if found is not Found.NOTHING:
            if found is not Found.NUMBERS:
                self._place(one, found, before)
                findings.news = True
            findings.change |= bool(before)
            self._take_changes(one, findings)
        if file.state is not State.DEAD:
            one.last_sign = None
        elif one.last_sign is None:
            one.last_sign = findings.now
        elif found is not Found.NOTHING:
            one.last_sign = findings.now
            findings.moved.add(file.listed.writer)
        elif file.plan is Plan.ONCE and findings.now >= one.last_sign + LINGER:
            self._bury(one)
        return True

    def _place(self, one: Followed, found: Found, before: Row) -> None:
        """Find the placement of a followed file with other or more keys than before; leave the old placement."""
        pid, db = self._pid(one.file), one.db
        if found is Found.GROWTH and one.placement:
            placement = self._families.grown(one.placement, db.keys(len(one.placement.series)), pid)
            placement.followed.append(one)
            self._leave(one)
        else:
            placement = self._families.placement_of(db.shape, db.keys(), pid)
            placement.followed.append(one)  # first: the old placement, to be left, may be the same one
            self._let_go(one, before)
            self._families.dirty.update(placement.held)
            one.blocks.clear()
        one.placement, one.cells = placement, one.db.cells
        one.blocks += [None] * (len(one.cells) - len(one.blocks))
        if one.file.name in self._dead:
            self._dead.resume(one.file.name, placement, one.cells)
        self._note_faults(one.file.name, placement)

    def _note_faults(self, name: str, placement: Placement) -> None:
        """Put into `left_out` why samples of a file are left out, if any are."""
        self.left_out.pop(name, None)
        if faults := self._families.faults(placement):
            reason, text = faults[0]
            self.left_out[name] = Fault(reason, f"{len(faults)} of its samples left out: {text}")

    def _take_changes(self, one: Followed, findings: Findings) -> None:
        """Note the blocks of a file's changed cells, and their newest stamp."""
        for cells in one.db.changes:
            self._touched |= one.blocks_of(cells)
        if self.rule.stamped:
            latest = time.time() + _CLOCK_SLACK  # a stamp beyond that is no time at which a gauge was set
            stamps = chain.from_iterable(map(_STAMP, one.cells[cells]) for cells in one.db.changes)
            findings.last_stamp = max(
                findings.last_stamp, *(stamp for stamp in stamps if stamp <= latest), 0.0
            )

    def _bury(self, one: Followed) -> None:
        """Follow a dead writer's file no longer, and keep its last cells as a constant."""
        name = one.file.name
        del self._followed[name]
        self._reading.pop(name, None)
        one.close()
        if one.placement:
            self._dead.bury(name, one.placement, one.cells)
            self._leave(one)

    def _let_go(self, one: Followed, row: Row) -> None:
        """Leave the placement of a file that is gone or was written anew; `row` are its last cells."""
        if one.placement:
            self._families.dirty.update(one.placement.held)
            if self.rule.outlives_files:
                self._dead.keep_row(one.placement, row)
            self._leave(one)

    def _leave(self, one: Followed) -> None:
        """Take a file out of its placement."""
        placement, one.placement = one.placement, None
        if placement:
            placement.followed.remove(one)
            self._families.release(placement)

    def _refuse(self, file: File, fault: Fault, seen: Fingerprint | None) -> bool:
        """Refuse a file for now; return whether that is new, or for another fault than before."""
        is_news = self._refusals.refuse(file, fault, seen)
        self._errors[fault.reason] += is_news
        return is_news

    def _pid(self, file: File) -> str:
        """Return the value of the `pid` label, if series of the file get one: in `all` modes, the stock collector's."""
        if self.rule.per_process:
            return stock_pid(file.name)
        return file.listed.writer
