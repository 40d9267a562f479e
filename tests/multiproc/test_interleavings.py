"""Random interleavings of all that happens in a worker's directory, each scrape compared with a fresh stock merge."""

import math
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from prometheus_client.mmap_dict import MmapedDict

from exporter.exposition.text import Renderer
from exporter.multiproc.collector import IncrementalCollector
from exporter.multiproc.fileset import FileSet, Liveness, decide, list_directory
from exporter.multiproc.merge import RULES
from exporter.multiproc.processes import Process
from tests.support.compare import Facts, Labels, facts, of_stock, of_text, rendered, text_of
from tests.support.files import HELP, write
from tests.support.metrics import KINDS, Family, Series, entries

PIDS = ("1", "22", "333")
FAMILIES = {kind: [Family(f"{kind}_{name}x", kind, HELP, ("lx",)) for name in "ab"] for kind in KINDS}
SUMS = [kind for kind in KINDS if RULES[kind].type != "gauge"]
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
        self.collector = self.new_collector()
        self.renderers = {
            (escaping, openmetrics): Renderer(escaping, openmetrics=openmetrics)
            for escaping in ("underscores", "allow-utf-8")
            for openmetrics in (False, True)
        }
        self.last_sums: dict[tuple[str, Labels], float] = {}
        self.steps = self.scrapes = 0
        for pid in PIDS:
            self.birth(pid)
            write(
                self.directory / f"counter_{pid}.db",
                entries(FAMILIES["counter"][0], Series({"lx": ""}, [1.0], (), 0.0)),
            )

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

    @rule(data=st.data())
    def removal(self, data: st.DataObject) -> None:
        """Remove some files, not all, of the dead. What they last held is what was last scraped."""
        dead = [
            path
            for path in sorted(self.directory.iterdir())
            if path.stem.rpartition("_")[2] not in self.living
        ]
        names = data.draw(st.lists(st.sampled_from(dead), unique=True)) if dead else []
        self.scrape()
        if len(names) == len(list(self.directory.iterdir())):
            names = names[1:]
        for path in names:
            kind = path.stem.rpartition("_")[0]
            if kind in SUMS:
                shutil.copy(path, self.gone / f"{kind}_{len(list(self.gone.iterdir()))}.db")
            path.unlink()
        self.look()
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
        said = facts(self.collector.collect())
        assert said == self.expected()
        assert not self.collector.errors
        self.assert_no_sum_fell(said)
        snapshot = self.collector.snapshot
        self.scrapes += 1
        for every, ((escaping, openmetrics), renderer) in enumerate(self.renderers.items(), 1):
            if self.scrapes % every == 0:  # one that is not asked for long must catch up
                fresh_renderer = Renderer(escaping, openmetrics=openmetrics)
                assert text_of(renderer, snapshot) == text_of(fresh_renderer, snapshot)
        text = text_of(self.renderers["underscores", False], snapshot)
        assert of_text(text) == said
        if not any(self.gone.iterdir()):  # of which a new collector knows nothing
            fresh = self.new_collector()
            fresh.update()
            assert rendered(fresh)[0] == text

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

    def new_collector(self) -> IncrementalCollector:
        return IncrementalCollector(None, file_set=lambda: self.files, keep_gauges=self.keep_gauges)

    def look(self) -> None:
        listing = list_directory(str(self.directory))
        if self.files.listing and self.files.listing.same_files(listing):
            listing = self.files.listing
        before = self.files
        self.files = decide(self.files, listing, self.find_process, self.liveness, self.collector.moved)
        if self.files is not before:
            self.collector.update()  # as the daemon does when the file set changes

    def find_process(self, pid: str) -> Process | None:
        return Process(pid, self.living[pid], 0.0) if pid in self.living else None

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

    def expected(self) -> Facts:
        """Return what the stock collector makes of the files that count."""
        known = self.liveness is Liveness.ON
        files = []
        for path in self.directory.iterdir():
            kind, _, pid = path.stem.rpartition("_")
            if not (known and RULES[kind].live_only and pid not in self.living):
                files.append(path)
        up = any(path.stem.rpartition("_")[2] in self.living for path in self.directory.iterdir())
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


def values_in(path: Path) -> dict[str, float]:
    if not path.exists():
        return {}
    return {key: value for key, value, _, _ in MmapedDict.read_all_values_from_file(str(path))}


TestWorker = Worker.TestCase
TestWorker.settings = settings(max_examples=50, stateful_step_count=30)
