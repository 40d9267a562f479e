"""One process of the simulated worker: when it is ready, how it keeps up, and when it ends."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from textwrap import dedent

import pytest

from exporter.demo.events import Event, ForwardPass, Load, PassKind, Scheduled
from exporter.demo.story import ACTS, STEADY, Act, Story
from exporter.demo.variety import simulated_server
from exporter.demo.worker import TICK, misses, run
from exporter.engine.tracker import Tracker
from tests.support.snapshots import Snapshots, counter, gauge
from tests.support.waiting import eventually


class Recorder:
    """A server that notes the moments to which it is moved, and a writer that does `at_write` at each."""

    load = None

    def __init__(self, at_write: Callable[[], object], story: Story, given: list[list[Event]]) -> None:
        self.story = story
        self.given = given
        self.moments: list[float] = []
        self._at_write = at_write

    def advance(self, to: float) -> list[Event]:
        self.moments.append(to)
        return [Scheduled(queue_time=0)]

    def write(self, events: Iterable[Event], _load: Load) -> None:
        self.given.append([*events])
        self._at_write()


def run_until_the_parent_ends(
    at_write: Callable[[Callable[[], None]], object],
    started: float,
    story: Story = STEADY,
    *,
    lags: bool = False,
    given: list[list[Event]] | None = None,
) -> list[float]:
    """Run with a parent that `at_write` ends by what it is given; return the moments of the writes.

    The events of each write are added to `given`.
    """
    ours, theirs = os.pipe()
    both = Recorder(lambda: at_write(lambda: os.close(theirs)), story, [] if given is None else given)
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


LAGGING = Act("a rank lags", 1, lag=2.5)


@pytest.mark.parametrize(
    ("act", "lags", "share"),
    [(LAGGING, True, 0.4), (LAGGING, False, 1), (STEADY.acts[0], True, 1)],
    ids=["rank_that_lags", "other_rank", "before"],
)
def test_a_rank_that_lags_has_no_part_in_most_of_what_happens(
    act: Act,
    lags: bool,  # noqa: FBT001 - a parameter of the test
    share: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("exporter.demo.worker.TICK", 0.005)
    given: list[list[Event]] = []

    def at_write(end: Callable[[], None]) -> None:
        if len(given) == 51:
            end()

    run_until_the_parent_ends(at_write, time.monotonic(), Story((act,)), lags=lags, given=given)
    assert given[0], "the first update, after which all series exist, is whole"
    assert sum(map(bool, given[1:])) / 50 == pytest.approx(share, abs=0.15)  # a tick may be passed over


READ_TICKS = 10
"""Ticks between two reads of the engine view: 2 seconds."""


@pytest.mark.parametrize("number", range(6))
def test_the_engine_view_marks_the_rank_that_lags_while_it_lags_and_no_other(number: int) -> None:
    server, tracker, snapshots = simulated_server(number), Tracker(), Snapshots()
    tokens = dict.fromkeys(range(4), 0.0)
    marked: dict[str, list[set[str]]] = {act.name: [] for act in ACTS}
    for tick in range(round(server.story.seconds / TICK)):
        act = server.story.act(tick * TICK)
        passes = [event for event in server.advance(tick * TICK) if isinstance(event, ForwardPass)]
        decoded = sum(event.computed_tokens for event in passes if event.kind is PassKind.DECODE)
        for rank in tokens:
            tokens[rank] += 0 if rank == max(tokens) and misses(act, tick) else decoded
        if tick % READ_TICKS == 0:
            running = gauge(
                "sglang:num_running_reqs", {f'tp_rank="{rank}"': server.load.running for rank in tokens}
            )
            decoding = {f'mode="decode",tp_rank="{rank}"': count for rank, count in tokens.items()}
            read = running + counter("sglang:realtime_tokens", decoding)
            tracker.take(1000 + tick * TICK, snapshots.of(read), up=True)
            marked[act.name].append({rank["rank"] for rank in tracker.view()["ranks"] if rank["lags"]})
    lagging, after = marked.pop("a rank lags"), marked.pop("the rank keeps up again")
    assert lagging[-10:] == [{"tp 3"}] * 10, "for the act's last third at least"
    assert set().union(*lagging) == {"tp 3"}
    assert set().union(*after[:5]) <= {"tp 3"}, "the mark stays for what its pace is taken over"
    assert not set().union(*after[5:])
    assert not set().union(*(ranks for act in marked.values() for ranks in act))


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
