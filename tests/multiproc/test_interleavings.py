"""Random interleavings of all that happens in a worker's directory, each scrape compared with a fresh stock merge."""

import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from prometheus_client.mmap_dict import MmapedDict

from exporter.exposition.text import Renderer
from exporter.model import Format, Labels
from exporter.multiproc.collector import metrics
from exporter.multiproc.engine import Engine
from exporter.multiproc.fileset import FileSet, decide
from exporter.multiproc.listing import list_directory
from exporter.multiproc.liveness import Liveness
from exporter.multiproc.merge import RULES
from exporter.multiproc.processes import Process
from tests.support.compare import Facts, facts, of_stock, of_text, rendered, text_of
from tests.support.files import HELP, Processes, raw_entry, raw_file, write
from tests.support.metrics import KINDS, Family, Series, entries

PIDS = ("1", "22", "333")
FAMILIES = {kind: [Family(f"{kind}_{name}x", kind, HELP, ("lx",)) for name in "ab"] for kind in KINDS}
SUMS = [kind for kind in KINDS if RULES[kind].type != "gauge"]
GAUGES = [kind for kind in KINDS if RULES[kind].type == "gauge"]
BOUNDS = ((1.0,), (1.0, 2.0), (0.5, 2.0, 1e6))


class Worker(RuleBasedStateMachine):
    """A worker's directory, its processes, and the exporter that follows."""

    @initialize(
        liveness=st.sampled_from([Liveness.ON, Liveness.ON, Liveness.OFF]),
        keep_gauges=st.booleans(),
        kinds=st.lists(
            st.sampled_from(KINDS), min_size=1, max_size=3, unique=True
        ),  # few, so that more happens to each
    )
    def start(self, liveness: Liveness, kinds: list[str], *, keep_gauges: bool) -> None:
        self.temporary = TemporaryDirectory()
        root = Path(self.temporary.name)
        self.directory, self.gone = root / "worker", root / "gone"
        self.directory.mkdir()
        self.gone.mkdir()
        self.liveness, self.keep_gauges, self.kinds = liveness, keep_gauges, kinds
        self.living: dict[str, int] = {}
        self.births = 0
        self.stamp = 0.0
        self.files = FileSet(str(self.directory))
        self.clock = 0.0
        self.engine = self.new_engine()
        self.renderers = {
            (format_, escaping): Renderer(format_, escaping)
            for escaping in ("underscores", "allow-utf-8")
            for format_ in (Format.TEXT_0_0_4, Format.OPENMETRICS_1_0_0)
        }
        self.last_sums: dict[tuple[str, Labels], float] = {}
        self.steps = self.scrapes = 0
        for pid in PIDS:
            self.birth(pid)
            write(
                self.directory / f"counter_{pid}.db",
                entries(FAMILIES["counter"][0], Series({"lx": ""}, [1.0], (), 0.0)),
            )
        self.scrape()  # the exporter starts beside living writers

    def teardown(self) -> None:
        if hasattr(self, "temporary"):
            self.temporary.cleanup()

    # --- what happens

    @rule(pid=st.sampled_from(PIDS))
    def birth(self, pid: str) -> None:
        self.births += 1
        self.living[pid] = self.births
        self.look()

    @precondition(lambda self: self.living)
    @rule(data=st.data())
    def death(self, data: st.DataObject) -> None:
        del self.living[data.draw(st.sampled_from(sorted(self.living)))]
        if data.draw(st.booleans()):
            self.look()

    @precondition(lambda self: self.living)
    @rule(data=st.data(), label=st.sampled_from(["", '"']))
    def writes(self, data: st.DataObject, label: str) -> None:
        kind = data.draw(st.sampled_from(self.kinds))
        for pid in data.draw(st.lists(st.sampled_from(sorted(self.living)), min_size=1, unique=True)):
            for family in FAMILIES[kind][: data.draw(st.integers(1, 2))]:
                self.write(family, pid, label, data)

    @precondition(lambda self: self.living)
    @rule(data=st.data(), count=st.integers(20, 50))
    def growth(self, data: st.DataObject, count: int) -> None:
        """Make a file outgrow what it was preallocated with."""
        pid = data.draw(st.sampled_from(sorted(self.living)))
        family = FAMILIES["counter"][0]
        many: dict[str, float | tuple[float, float]] = {}
        for number in range(count):
            many.update(entries(family, Series({"lx": f"{number:02000}"}, [float(number)], (), 0.0)))
        write(self.directory / f"counter_{pid}.db", many)

    @rule(data=st.data(), living=st.booleans())
    def removal(self, data: st.DataObject, *, living: bool) -> None:
        """Remove some files of several kinds at once, not all. What they said last is what was scraped last."""
        paths = [
            path for path in sorted(self.directory.iterdir()) if living or writer_of(path) not in self.living
        ]
        names = data.draw(st.lists(st.sampled_from(paths), unique=True)) if paths else []
        self.scrape()
        if len(names) == len(list(self.directory.iterdir())):
            names = names[1:]
        for path in names:
            self.keep_sums(path)
            path.unlink()
        self.look()
        self.scrape()

    @rule(data=st.data(), reads=st.integers(0, 9))
    def rewriting(self, data: st.DataObject, reads: int) -> None:
        """Write a file anew in its place, in the middle of a read: another file, as it were, of the same name."""
        paths = [path for path in sorted(self.directory.iterdir()) if writer_of(path) in self.living]
        if not paths:
            return
        path = data.draw(st.sampled_from(paths))
        self.scrape()
        self.keep_sums(path)
        anew = self.anew(kind_of(path))
        with between_reads(reads, lambda: path.write_bytes(anew)):
            self.collect()
        self.scrape()

    @precondition(lambda self: self.living)
    @rule(data=st.data())
    def refusal(self, data: st.DataObject) -> None:
        """Cut a file short for a while. What it said last counts meanwhile."""
        paths = [path for path in sorted(self.directory.iterdir()) if writer_of(path) in self.living]
        if not paths:
            return
        path = data.draw(st.sampled_from(paths))
        self.scrape()
        whole = path.read_bytes()
        os.truncate(path, data.draw(st.integers(0, 100)))
        before = self.collect()
        assert self.collect() == before
        path.write_bytes(whole)
        self.clock += 10.0
        self.scrape()

    @rule(data=st.data())
    def gauges_die_and_return(self, data: st.DataObject) -> None:
        """Set gauges of all modes in all processes, of which some die; files of the dead go, or are gone on with."""
        for pid in PIDS:
            if pid not in self.living:
                self.birth(pid)
            for kind in GAUGES:
                self.write(FAMILIES[kind][0], pid, "", data)
        self.scrape()
        dead = data.draw(st.lists(st.sampled_from(PIDS), min_size=1, unique=True))
        for pid in dead:
            del self.living[pid]
            self.scrape()
        for kind in GAUGES:
            (self.directory / f"{kind}_{dead[0]}.db").unlink()
        self.scrape()
        self.birth(dead[-1])
        self.scrape()

    @rule(data=st.data())
    def another_takes_over(self, data: st.DataObject) -> None:
        """Let a process with a dead one's pid write a file of that name anew."""
        dead = [path for path in sorted(self.directory.iterdir()) if writer_of(path) not in self.living]
        self.scrape()
        if dead:
            path = data.draw(st.sampled_from(dead))
            self.keep_sums(path)
            path.write_bytes(self.anew(kind_of(path)))
            self.birth(writer_of(path))
            self.scrape()

    @precondition(lambda self: self.living)
    @rule(data=st.data())
    def a_life_between_two_looks(self, data: st.DataObject) -> None:
        """Let a process that nobody sees alive go on with the files of one that died just now."""
        pid = data.draw(st.sampled_from(sorted(self.living)))
        del self.living[pid]
        self.scrape()
        for kind in self.kinds:
            self.write(FAMILIES[kind][0], pid, "", data)
        self.scrape()

    @rule()
    def time_passes(self) -> None:
        self.clock += 10.0
        self.scrape()

    @rule()
    def everybody_dies_and_returns(self) -> None:
        """Let all processes die, and others with their pids go on with their files."""
        living, self.living = self.living, {}
        self.scrape()
        for pid in living:
            self.birth(pid)
        self.scrape()

    @precondition(lambda self: self.steps > 15)  # not too often: a life should be long enough to be eventful
    @rule(replaced=st.booleans())
    def another_worker(self, *, replaced: bool) -> None:
        """Empty the directory, or replace it."""
        self.scrape()
        if replaced:
            self.directory.rename(self.directory.with_name("old"))
            self.directory.mkdir()
            shutil.rmtree(self.directory.with_name("old"))
        else:
            for path in self.directory.iterdir():
                path.unlink()
        shutil.rmtree(self.gone)
        self.gone.mkdir()
        self.last_sums = {}
        self.steps = 0
        self.look()

    @rule()
    def scrape(self) -> None:
        self.look()
        said = self.collect()
        assert said == self.expected()
        assert not self.engine.left_out
        self.assert_no_sum_fell(said)
        snapshot = self.engine.snapshot
        self.scrapes += 1
        for every, (written, renderer) in enumerate(self.renderers.items(), 1):
            if self.scrapes % every == 0:  # one that is not asked for long must catch up
                assert text_of(renderer, snapshot) == text_of(Renderer(*written), snapshot)
        text = text_of(self.renderers[Format.TEXT_0_0_4, "underscores"], snapshot)
        assert of_text(text) == said
        if not any(self.gone.iterdir()):  # of which a new collector knows nothing
            fresh = self.new_engine()
            fresh.update()
            assert rendered(fresh.snapshot)[0] == text

    @rule()
    def death_and_scrape(self) -> None:
        """Let one die, if one lives, and see to it that this is noticed."""
        if self.living:
            del self.living[min(self.living)]
        self.scrape()

    @invariant()
    def nothing_moved_that_is_dead(self) -> None:
        self.steps += 1
        assert not self.files.foreign

    # --- how

    def new_engine(self) -> Engine:
        return Engine(lambda: self.files, keep_gauges=self.keep_gauges, clock=lambda: self.clock)

    def look(self) -> None:
        before = self.files
        listing = list_directory(str(self.directory), before.listing)
        evidence = Processes({pid: Process(pid, born, 0.0) for pid, born in self.living.items()})
        self.files = decide(before, listing, evidence, self.liveness, self.engine.moved)
        if self.files is not before:
            self.engine.update()  # as the daemon does when the file set changes

    def collect(self) -> Facts:
        self.engine.update()
        return facts(metrics(self.engine.snapshot))

    def keep_sums(self, path: Path) -> None:
        """Keep what a file says that is to go, and what is to stay in the sums."""
        kind = kind_of(path)
        if kind in SUMS:
            shutil.copy(path, self.gone / f"{kind}_{len(list(self.gone.iterdir()))}.db")

    def write(self, family: Family, pid: str, label: str, data: st.DataObject) -> None:
        self.stamp += 1.0
        numbers = [float(data.draw(st.integers(1, 2**21)))]
        bounds: tuple[float, ...] = ()
        if family.kind == "histogram":
            bounds = (*data.draw(st.sampled_from(BOUNDS)), math.inf)
            numbers += [float(data.draw(st.integers(0, 2))) for _ in bounds]
        elif family.kind == "summary":
            numbers *= 2
        stamp = self.stamp * data.draw(st.booleans()) if RULES[family.kind].stamped else 0.0
        path = self.directory / f"{family.kind}_{pid}.db"
        changed = entries(family, Series({"lx": label}, numbers, bounds, stamp))
        if family.kind in SUMS:  # a process's sums only grow
            already = values_in(path)
            changed = {key: (already.get(key, 0.0) + value, 0.0) for key, (value, _) in changed.items()}
        write(path, changed)

    def anew(self, kind: str) -> bytes:
        """Return a file that holds one series, which no other holds."""
        self.births += 1
        bounds = (1.0, math.inf) if kind == "histogram" else ()
        numbers = {"histogram": [3.0, 1.0, 1.0], "summary": [2.0, 3.0]}.get(kind, [3.0])
        series = Series({"lx": f"anew {self.births}"}, numbers, bounds, self.stamp)
        return file_of(entries(FAMILIES[kind][0], series))

    def expected(self) -> Facts:
        """Return what the stock collector makes of the files that count."""
        known = self.liveness is Liveness.ON
        files = [
            path
            for path in self.directory.iterdir()
            if not (known and RULES[kind_of(path)].live_only and writer_of(path) not in self.living)
        ]
        up = any(writer_of(path) in self.living for path in self.directory.iterdir())
        if known and not up and not self.keep_gauges:
            files = [path for path in files if not path.name.startswith("gauge")]
        return of_stock([*files, *self.gone.iterdir()])

    def assert_no_sum_fell(self, said: Facts) -> None:
        sums = {
            key: float(value)
            for (_, metric_type, _), samples in said.items()
            if metric_type != "gauge"
            for key, value in samples.items()
        }
        for key, value in self.last_sums.items():
            assert sums[key] >= value, f"{key} fell"
        self.last_sums = sums


@contextmanager
def between_reads(count: int, act: Callable[[], object]) -> Iterator[None]:
    """Act once so many reads are done, or at the end where there are fewer."""
    left = count
    preadv = os.preadv

    def counted(fd: int, buffers: list[bytearray], offset: int) -> int:
        nonlocal left
        left -= 1
        if left == -1:
            act()
        return preadv(fd, buffers, offset)

    with patch.object(os, "preadv", counted):
        yield
    if left >= 0:
        act()


def file_of(written: Mapping[str, tuple[float, float]]) -> bytes:
    return raw_file(*(raw_entry(key.encode(), value, stamp) for key, (value, stamp) in written.items()))


def kind_of(path: Path) -> str:
    return path.stem.rpartition("_")[0]


def writer_of(path: Path) -> str:
    return path.stem.rpartition("_")[2]


def values_in(path: Path) -> dict[str, float]:
    if not path.exists():
        return {}
    return {key: value for key, value, _, _ in MmapedDict.read_all_values_from_file(str(path))}


TestWorker = Worker.TestCase
TestWorker.settings = settings(max_examples=50, stateful_step_count=30)
