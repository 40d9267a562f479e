"""One process of the simulated worker: when it is ready, how it keeps up, and when it ends."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from textwrap import dedent

import pytest

from exporter.demo.events import Event, Load
from exporter.demo.story import STEADY, Act, Story
from exporter.demo.worker import LATE_TICKS, TICK, run
from tests.support.waiting import eventually


class Recorder:
    """A server that notes the moments to which it is moved, and a writer that does `at_write` at each."""

    load = None

    def __init__(self, at_write: Callable[[], object], story: Story) -> None:
        self.story = story
        self.moments: list[float] = []
        self._at_write = at_write

    def advance(self, to: float) -> list[Event]:
        self.moments.append(to)
        return []

    def write(self, _events: Iterable[Event], _load: Load) -> None:
        self._at_write()


def run_until_the_parent_ends(
    at_write: Callable[[Callable[[], None]], object],
    started: float,
    story: Story = STEADY,
    *,
    lags: bool = False,
) -> list[float]:
    """Run with a parent that `at_write` ends by what it is given; return the moments of the writes."""
    ours, theirs = os.pipe()
    both = Recorder(lambda: at_write(lambda: os.close(theirs)), story)
    with os.fdopen(ours) as parent:
        run(both, both, started=started, parent=parent, lags=lags)  # type: ignore[arg-type]
    return both.moments


def test_it_says_that_it_is_ready_once_it_has_written(capsys: pytest.CaptureFixture[str]) -> None:
    said = []

    def at_write(end: Callable[[], None]) -> None:
        said.append(capsys.readouterr().out)
        if len(said) == 2:
            end()

    run_until_the_parent_ends(at_write, time.monotonic())
    assert (said, capsys.readouterr().out) == (["", "ready\n"], "")


def test_the_moments_are_multiples_of_the_tick_since_the_start_whenever_it_looks() -> None:
    writes = []

    def at_write(end: Callable[[], None]) -> None:
        writes.append(time.monotonic())
        if len(writes) == 2:
            end()

    first, second = run_until_the_parent_ends(at_write, time.monotonic() - 1000.3 * TICK)
    assert second > first >= 1000 * TICK
    for moment in (first, second):
        assert moment / TICK == pytest.approx(round(moment / TICK), abs=1e-6)


LAGGING = Story((Act("a rank lags", 1, lag=2.0),))


@pytest.mark.parametrize(
    ("story", "lags", "late"),
    [(LAGGING, True, True), (LAGGING, False, False), (STEADY, True, False)],
    ids=["rank_that_lags", "other_rank", "before"],
)
def test_a_rank_that_lags_updates_late(
    story: Story,
    lags: bool,  # noqa: FBT001 - a parameter of the test
    late: bool,  # noqa: FBT001 - as above
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("exporter.demo.worker.TICK", 0.01)
    writes = 0

    def at_write(end: Callable[[], None]) -> None:
        nonlocal writes
        writes += 1
        if writes == 4:
            end()

    moments = run_until_the_parent_ends(at_write, time.monotonic(), story, lags=lags)
    ticks = [round(moment / 0.01) for moment in moments[1:]]  # the first update is never late
    assert all(tick % LATE_TICKS == 0 for tick in ticks) is late


def test_processes_end_when_their_parent_is_killed(tmp_path: Path, running: Callable[[int], bool]) -> None:
    code = """
        import sys
        from pathlib import Path
        from exporter.demo.processes import simulated_workers
        with simulated_workers([Path(sys.argv[1])], ranks=2) as [worker]:
            print(*worker.pids, flush=True)
            sys.stdin.read()
    """
    with subprocess.Popen(
        [sys.executable, "-c", dedent(code), str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as parent:
        assert parent.stdout
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 3
        assert all(running(pid) for pid in pids)
        parent.kill()
    eventually(lambda: not any(running(pid) for pid in pids), "no process outlives its parent")
