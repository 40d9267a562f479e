"""Real processes: they agree, move, and end."""

import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from exporter.demo import processes
from exporter.demo.catalogue import Role
from exporter.demo.processes import DemoError, simulated_workers
from exporter.demo.story import Story
from tests.support.waiting import eventually

Samples = dict[str, dict[str, float]]
"""Values by sample name, then by the labels that matter, joined."""


def merged(directory: Path) -> Samples:
    samples: Samples = {}
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(directory))
    for family in registry.collect():
        for sample in family.samples:
            labels = {
                key: sample.labels[key] for key in sorted(sample.labels) if key not in ("model_name", "pid")
            }
            samples.setdefault(sample.name, {})[repr(labels)] = sample.value
    return samples


def by_rank(samples: Samples, name: str, *texts: str) -> list[float]:
    return [
        value
        for labels, value in sorted(samples[f"sglang:{name}"].items())
        if all(text in labels for text in texts)
    ]


def total(samples: Samples, name: str) -> float:
    return sum(samples[f"sglang:{name}"].values())


def agree(samples: Samples) -> bool:
    """Whether what different processes say of the same requests fits together."""
    decoded = by_rank(samples, "realtime_tokens_total", "'decode'")
    gaps = total(samples, "inter_token_latency_seconds_count")
    prefilled_again = gaps - decoded[0]  # a retracted request's next token comes from its prefill
    scheduled = by_rank(samples, "queue_time_seconds_count")
    first_tokens = total(samples, "time_to_first_token_seconds_count")
    finished = total(samples, "num_requests_total")
    gauges = ("num_running_reqs", "num_queue_reqs", "token_usage", "gen_throughput", "cache_hit_rate")
    return (
        decoded[0] == decoded[1]
        and 0 <= prefilled_again <= by_rank(samples, "num_retracted_requests_total")[0]
        and scheduled[0] == scheduled[1] >= first_tokens >= finished
        and finished == total(samples, "e2e_request_latency_seconds_count")
        and total(samples, "generation_tokens_total") == total(samples, "generation_tokens_histogram_sum")
        and all(len(set(by_rank(samples, gauge))) == 1 for gauge in gauges)
    )


def read_between_updates(directory: Path) -> Samples:
    """Read until the processes agree: a read during an update sees some of them before it, some after."""
    reads: list[Samples] = []

    def consistent() -> bool:
        reads.append(merged(directory))
        return agree(reads[-1])

    eventually(consistent, "the processes agree")
    return reads[-1]


def test_processes_agree_and_move(tmp_path: Path) -> None:
    with simulated_workers([tmp_path], ranks=2) as [worker]:
        roles = [(process.role, process.tp_rank) for process in worker.processes]
        assert roles == [(Role.SCHEDULER, 0), (Role.SCHEDULER, 1), (Role.SERVICER, None)]
        before = read_between_updates(tmp_path)
        assert total(before, "num_requests_total") > 0

        def moved() -> bool:
            now = merged(tmp_path)
            counters = ("realtime_tokens_total", "generation_tokens_total", "num_requests_total")
            return all(total(now, name) > total(before, name) for name in counters)

        eventually(moved, "the counters rise")
        read_between_updates(tmp_path)


def test_the_second_worker_has_other_requests(tmp_path: Path) -> None:
    directories = [tmp_path / "first", tmp_path / "second"]
    for directory in directories:
        directory.mkdir()
    with simulated_workers(directories, ranks=1) as workers:
        assert [worker.directory for worker in workers] == directories
        pids = [pid for worker in workers for pid in worker.pids]
        first, second = map(merged, directories)
    assert total(first, "num_requests_total") != total(second, "num_requests_total")
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.fixture
def short_story(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a worker start anew after a second or so."""
    monkeypatch.setattr(Story, "seconds", property(lambda _: 1.5))
    monkeypatch.setattr(processes, "WARM_UP", 0.0)
    monkeypatch.setattr(processes, "PAUSE", 0.0)
    monkeypatch.setattr(processes, "SHORTEST_PAUSE", 0.1)


@pytest.mark.usefixtures("short_story")
def test_after_its_story_a_worker_starts_anew_in_an_empty_directory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    with simulated_workers([tmp_path], ranks=1) as [worker]:
        before = set(worker.pids)

        def written_by() -> set[int]:
            return {int(file.stem.rsplit("_", 1)[1]) for file in tmp_path.glob("*.db")}

        eventually(lambda: len(written_by() - before) == len(before), "other processes write")
        eventually(lambda: not written_by() & before, "the files of those before are gone")
        assert not any(Path(f"/proc/{pid}").exists() for pid in before)
    assert not any(Path(f"/proc/{pid}").exists() for pid in written_by())
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors
    assert not caplog.records, "a restart is no death to report"


@pytest.mark.usefixtures("short_story")
def test_a_worker_that_cannot_start_anew_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with simulated_workers([tmp_path], ranks=1):
        monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
        eventually(lambda: bool(caplog.records), "it says so")
    [record] = caplog.records
    assert record.message == "simulated worker not restarted"
    assert "cannot start a scheduler" in str(vars(record)["fields"]["error"])


@pytest.mark.parametrize("number", range(3))
def test_a_stop_at_any_moment_of_a_restart_ends_everything(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Story, "seconds", property(lambda _: 0.0))
    monkeypatch.setattr(processes, "PAUSE", 0.0)
    monkeypatch.setattr(processes, "SHORTEST_PAUSE", (0.0, 0.01, 60.0)[number])
    with simulated_workers([tmp_path], ranks=1) as [worker]:
        before = worker.pids
        eventually(lambda: worker.pids != before, "the restart has begun")
    assert worker.pids == ()
    assert not caplog.records


def test_features_that_are_off_stay_at_their_initial_values(tmp_path: Path) -> None:
    with simulated_workers([tmp_path], ranks=1):
        samples = merged(tmp_path)
    assert "sglang:lora_pool_slots_used" not in samples  # a mostrecent gauge that was never set
    assert total(samples, "num_grammar_total") == 0
    assert total(samples, "kv_transfer_speed_gb_s_count") == 0


def test_nothing_runs_after_leaving(tmp_path: Path) -> None:
    with simulated_workers([tmp_path], ranks=2) as [worker]:
        pids = worker.pids
        assert all(Path(f"/proc/{pid}").exists() for pid in pids)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert sorted({file.stem.rsplit("_", 1)[1] for file in tmp_path.glob("*.db")}) == sorted(map(str, pids))


def test_an_error_inside_ends_the_processes_too(tmp_path: Path) -> None:
    pids: tuple[int, ...] = ()
    with suppress(RuntimeError), simulated_workers([tmp_path], ranks=1) as [worker]:
        pids = worker.pids
        raise RuntimeError
    assert pids
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "STOP_TIMEOUT", 0.1)
    with simulated_workers([tmp_path], ranks=1) as [worker]:
        stopped = worker.pids[0]
        os.kill(stopped, signal.SIGSTOP)
    assert not Path(f"/proc/{stopped}").exists()


def test_a_killed_rank_is_reaped_and_not_replaced(
    tmp_path: Path,
    running: Callable[[int], bool],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")  # what the processes say may come in pieces
    with caplog.at_level(logging.WARNING), simulated_workers([tmp_path], ranks=2) as [worker]:
        os.kill(worker.pids[0], signal.SIGKILL)
        eventually(lambda: not Path(f"/proc/{worker.pids[0]}").exists(), "the dead rank is reaped")
        eventually(lambda: bool(caplog.records), "its end is logged")
        assert all(running(pid) for pid in worker.pids[1:])
        assert list(tmp_path.glob(f"*_{worker.pids[0]}.db"))
    [record] = caplog.records
    assert vars(record)["fields"]["ending"] == "was killed by SIGKILL"
    assert vars(record)["fields"]["process"] == "scheduler tp_rank=0"


def test_a_process_that_cannot_start_says_why(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with (
        pytest.raises(
            DemoError, match=r"^\w+( tp_rank=0)? .* exited with 1 while starting: FileNotFoundError.*missing"
        ),
        simulated_workers([missing], ranks=1),
    ):
        pass


def test_a_process_that_is_slow_to_start_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "START_TIMEOUT", 0.0)
    with pytest.raises(DemoError, match="was not ready within 0 s"), simulated_workers([tmp_path], ranks=1):
        pass


def test_an_interpreter_that_cannot_run_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(DemoError, match="cannot start"), simulated_workers([tmp_path], ranks=1):
        pass


def test_the_current_directory_is_not_imported_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "random.py").write_text("raise SystemExit('the wrong module')\n")
    directory = tmp_path / "metrics"
    directory.mkdir()
    monkeypatch.chdir(tmp_path)
    with simulated_workers([directory], ranks=1) as [worker]:
        assert len(worker.pids) == 2
