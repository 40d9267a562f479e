"""`verify`: equal where it should be, and able to find a fault."""

import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from exporter.multiproc.fileset import FileSet
from exporter.multiproc.merge import RULES, Row
from exporter.options.sources import load
from exporter.options.worker import VerifyOptions
from exporter.worker import verify as verify_module
from exporter.worker.verify import verify
from tests.support import files
from tests.support.writers import Writer, writers

DEAD = "999999999"
"""A pid beyond any pid_max."""

Verified = tuple[int, list[str]]
Verify = Callable[..., Verified]


@pytest.fixture(name="verified")
def _verified(capsys: pytest.CaptureFixture[str]) -> Verify:
    """Give a function that runs `verify`, and returns its exit code and lines."""

    def run(directory: Path, **options: str | list[str] | bool) -> Verified:
        code = verify(load(VerifyOptions, {"multiproc_dir": str(directory), **options}))
        out, err = capsys.readouterr()
        assert err == ""
        return code, out.splitlines()

    return run


def sum_of_buckets_too_many(real: Callable[[Row], Sequence[float]]) -> Callable[[Row], Sequence[float]]:
    return lambda row: [*real(row)[:-1], real(row)[-1] + 1]


@pytest.mark.parametrize(
    ("name", "size"),
    [("tp1", "7 files, 126 families, 1075 samples"), ("tp8", "35 files, 126 families, 6402 samples")],
)
def test_recorded_directories_are_equal(
    recorded: dict[str, Path], verified: Verify, name: str, size: str
) -> None:
    assert verified(recorded[name], liveness="off") == (0, [f"round 1: {size}: equal"])


def test_files_that_move_are_compared_round_by_round(tmp_path: Path, verified: Verify) -> None:
    with writers(tmp_path, 2) as processes:
        for process in processes:
            change(process, 0)
        stop = threading.Event()

        def move() -> None:
            number = 1
            while not stop.is_set():
                for process in processes:
                    change(process, number)
                number += 1

        moving = threading.Thread(target=move)
        moving.start()
        try:
            code, lines = verified(tmp_path, liveness="on", rounds="50")
        finally:
            stop.set()
            moving.join()
    assert (code, len(lines)) == (0, 50), lines
    assert all(line.endswith(": equal") for line in lines)
    samples = [int(match[1]) for line in lines if (match := re.search(r"(\d+) samples", line))]
    assert samples[-1] > samples[0], "or nothing moved"


def change(process: Writer, number: int) -> None:
    process.add("c", 1.5, step=str(number % 100))
    process.observe("h", number % 7)
    process.observe_summary("s", number % 7)
    process.set("recent", number)
    process.set("live", number, "livesum")
    process.set("each", number, "all")


def test_nothing_to_compare_is_an_error(tmp_path: Path, verified: Verify) -> None:
    assert verified(tmp_path) == (1, [f"round 1: {tmp_path}: no .db file to compare"])
    missing = tmp_path / "missing"
    assert verified(missing) == (1, [f"round 1: {missing}: No such file or directory"])


# --- Faults ---


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("counter", {"merge": max}),
        ("gauge_livesum", {"merge": min}),
        ("gauge_mostrecent", {"merge": lambda rows: rows[0]}),
        ("histogram", {"finish": sum_of_buckets_too_many(RULES["histogram"].finish)}),
    ],
)
def test_a_wrong_rule_is_found(
    tmp_path: Path, verified: Verify, monkeypatch: pytest.MonkeyPatch, kind: str, fault: dict[str, object]
) -> None:
    for number in (1, 2):
        value = float(number)
        files.write(tmp_path / f"counter_{number}.db", {files.counter("counter"): value})
        files.write(tmp_path / f"gauge_livesum_{number}.db", {files.gauge("gauge_livesum"): value})
        files.write(
            tmp_path / f"gauge_mostrecent_{number}.db", {files.gauge("gauge_mostrecent"): (value, value)}
        )
        files.write(
            tmp_path / f"histogram_{number}.db",
            {files.bucket("histogram", "+Inf"): value, files.total("histogram"): 1},
        )
    assert verified(tmp_path, liveness="off")[0] == 0
    monkeypatch.setitem(RULES, kind, RULES[kind]._replace(**fault))  # type: ignore[arg-type]
    code, (head, *differences) = verified(tmp_path, liveness="off", rounds="1")
    assert code == 1
    assert head.endswith(f": {len(differences)} differences")
    assert all(line.startswith(f"  {kind}") for line in differences)
    assert all(re.search(r": ours \S+, prometheus_client's \S+$", line) for line in differences)


def test_a_fault_in_any_round_counts(
    tmp_path: Path, verified: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2):
        files.write(tmp_path / f"counter_{number}.db", {files.counter("c"): float(number)})
    found = iter([["c_total{}: one thing, another"], []])
    monkeypatch.setattr(verify_module, "_differences", lambda *_: next(found))
    code, lines = verified(tmp_path, liveness="off", rounds="2")
    assert code == 1
    assert lines == [
        "round 1: 2 files, 1 families, 1 samples: 1 differences",
        "  c_total{}: one thing, another",
        "round 2: 2 files, 1 families, 1 samples: equal",
    ]


# --- What is promised ---


def test_a_skipped_file_is_promised(tmp_path: Path, verified: Verify) -> None:
    files.write(tmp_path / "counter_1.db", {files.counter("c"): 1})
    (tmp_path / "counter_2.db").write_bytes(b"abc")
    (tmp_path / "counter_3.db").write_bytes(files.raw_file(used=2**31 - 1))
    (tmp_path / "what.db").touch()
    code, lines = verified(tmp_path, liveness="off", rounds="2")
    assert code == 0, lines
    assert [line.split()[:3] for line in lines if line.startswith("  ")] == [
        ["promise", "1:", "what.db"],
        ["promise", "1:", "counter_2.db"],
        ["promise", "1:", "counter_3.db"],
    ] * 2


def test_a_file_that_stock_reads_and_we_do_not_is_a_difference(tmp_path: Path, verified: Verify) -> None:
    files.write(tmp_path / "counter_rust-5027.db", {files.counter("c"): 1})
    assert verified(tmp_path, liveness="off") == (0, ["round 1: 1 files, 1 families, 1 samples: equal"])
    files.write(tmp_path / "gauge_odd_1.db", {files.gauge("g"): 1})
    code, lines = verified(tmp_path, liveness="off")
    assert code == 1
    assert [line.split(":")[0] for line in lines[1:]] == ['  g{pid="1"}', "  help of g", "  type of g"]


def test_a_dead_processs_live_gauges_are_promised(tmp_path: Path, verified: Verify) -> None:
    with writers(tmp_path, 2) as (living, dying):
        for process in (living, dying):
            process.set("g", 1, "livesum")
            process.add("c")
        dying.kill()
        code, lines = verified(tmp_path, liveness="on")
        assert code == 0, lines
        assert lines[1:] == [f"  promise 2: gauge_livesum_{dying.pid}.db is left out: its process is dead"]


def test_a_dead_workers_gauges_are_promised(tmp_path: Path, verified: Verify) -> None:
    files.write(tmp_path / f"counter_{DEAD}.db", {files.counter("c"): 1})
    files.write(tmp_path / f"gauge_max_{DEAD}.db", {files.gauge("g"): 1})
    code, lines = verified(tmp_path, liveness="on")
    assert code == 0, lines
    assert lines[1:] == ["  promise 3: gauges are left out: all processes are dead"]
    code, lines = verified(tmp_path, liveness="on", when_worker_down="keep-gauges")
    assert (code, lines[1:]) == (0, [])


def test_a_file_that_goes_is_promised(
    tmp_path: Path, verified: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[FileSet] = []
    look = verify_module._Comparison.look

    def look_and_remove(comparison: verify_module._Comparison) -> FileSet:
        if looks:
            (tmp_path / "counter_1.db").unlink(missing_ok=True)
        looks.append(look(comparison))
        return looks[-1]

    monkeypatch.setattr(verify_module._Comparison, "look", look_and_remove)
    for number in (1, 2):
        files.write(tmp_path / f"counter_{number}.db", {files.counter("c"): 1})
    code, lines = verified(tmp_path, liveness="off", rounds="3")
    assert code == 0, lines
    assert lines == [
        "round 1: 2 files, 1 families, 1 samples: equal",
        "round 2: 1 files, 1 families, 1 samples: equal",
        "  promise 4: 1 vanished files stay in the sums",
        "round 3: 1 files, 1 families, 1 samples: equal",
        "  promise 4: 1 vanished files stay in the sums",
    ]


def test_a_histogram_caught_half_written_is_promised(tmp_path: Path, verified: Verify) -> None:
    files.write(tmp_path / "histogram_1.db", {files.total("h"): 0.5, files.bucket("h", "1.0"): 1})
    code, lines = verified(tmp_path, liveness="off")
    assert code == 0, lines
    assert lines[1:] == ['  promise 1: h_bucket{le="+Inf"} is added, to complete a half-written histogram']


def test_the_workers_directory_is_left_alone(recorded: dict[str, Path], verified: Verify) -> None:
    before = [
        (path, path.stat().st_mtime_ns, path.read_bytes()) for path in sorted(recorded["tp1"].iterdir())
    ]
    verified(recorded["tp1"], liveness="off", rounds="2")
    assert before == [
        (path, path.stat().st_mtime_ns, path.read_bytes()) for path in sorted(recorded["tp1"].iterdir())
    ]


def test_each_directory_is_compared_by_itself(tmp_path: Path, verified: Verify) -> None:
    for name in ("dp0", "dp1", "other"):
        (tmp_path / name).mkdir()
        files.write(tmp_path / name / "counter_1.db", {files.counter("c"): 1})
    both = [f"{tmp_path}/dp*,rank=0", f"{tmp_path}/other,rank=1"]
    equal = "round 1: 1 files, 1 families, 1 samples: equal"
    assert verified(tmp_path, liveness="off", multiproc_dir=both) == (
        0,
        [line for name in ("dp0", "dp1", "other") for line in (f"{tmp_path}/{name}:", equal)],
    )
    (tmp_path / "dp0" / "counter_1.db").unlink()
    code, lines = verified(tmp_path, liveness="off", multiproc_dir=both)
    assert (code, lines[1]) == (1, f"round 1: {tmp_path}/dp0: no .db file to compare")
