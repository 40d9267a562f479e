"""The benchmarks run, and change what they say they change. How long anything takes is not tested."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from benchmarks import engine, growth, page, report, serving, transitions, watching
from benchmarks.contenders import Steps
from benchmarks.measuring import measure
from benchmarks.report import Row
from benchmarks.traffic import ALL, NOTHING, SOME, Traffic, changed_lines
from tests.support.daemon import ROOT
from tests.support.hosts import container


@pytest.fixture
def directories(recorded: dict[str, Path], tmp_path: Path) -> dict[str, Path]:
    """Give copies that may be written to."""
    return {name: Path(shutil.copytree(path, tmp_path / name)) for name, path in recorded.items()}


def exposition(directory: Path) -> bytes:
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(directory))
    return generate_latest(registry)


def check(rows: Iterable[Row]) -> None:
    """Fail where a row has no figure, or one that is no number."""
    for row in rows:
        figures = f"{row.ours} {row.stock} {row.ratio}"
        assert re.search(r"\d", row.ours), row
        assert not re.search(r"nan|inf", figures), row


@pytest.mark.parametrize("name", ["tp1", "tp8"])
@pytest.mark.parametrize(("share", "least", "most"), [(NOTHING, 0, 0), (SOME, 0.18, 0.22), (ALL, 1, 1)])
def test_traffic_changes_a_share_of_the_lines(
    directories: dict[str, Path], name: str, share: float, least: float, most: float
) -> None:
    with closing(Traffic(directories[name].glob("*.db"))) as traffic:
        before = exposition(directories[name])
        expected = traffic.change(share)
        changed, lines = changed_lines(before, exposition(directories[name]))
    assert changed == expected
    assert least <= changed / lines <= most


def test_traffic_changes_metrics_of_every_type(directories: dict[str, Path]) -> None:
    before = exposition(directories["tp1"])
    with closing(Traffic(directories["tp1"].glob("*.db"))) as traffic:
        traffic.change(SOME)
    after = exposition(directories["tp1"])
    types = dict(line.split(b" ")[2:4] for line in after.splitlines() if line.startswith(b"# TYPE"))
    changed = {line.split(b"{")[0] for line in set(after.splitlines()) - set(before.splitlines())}
    families = {re.sub(rb"_(bucket|sum|count)$", b"", name) for name in changed}
    assert {types.get(name, b"histogram") for name in families} == {b"counter", b"gauge", b"histogram"}


def test_engine(directories: dict[str, Path]) -> None:
    costs = engine.costs_by_share(directories["tp1"], 1, [SOME])
    check(engine.rows("tp1", costs))
    check(engine.openmetrics_rows("tp1", costs))
    check([engine.warm_row(directories["tp1"], 1), engine.first_scrape(directories["tp1"], 1)])
    assert "nan" not in engine.profile(costs)


def frozen(directory: Path) -> Steps:
    """Serve what there was at the start for ever."""
    body = exposition(directory)
    return {"scrape": lambda: body}


def test_a_contender_that_serves_old_values_is_found_out(directories: dict[str, Path]) -> None:
    with pytest.raises(AssertionError, match=r"frozen: 0 of \d+ lines changed"):
        measure({"frozen": frozen}, directories["tp1"], SOME, 1)


def test_growth(tmp_path: Path) -> None:
    ranks = growth.by_ranks(tmp_path, 1, (1, 2))
    check(growth.rank_rows(ranks))
    alone, dead = growth.by_dead_processes(tmp_path, 1, (1, 2))
    check([growth.dead_row(alone, dead)])
    for chart in (growth.rank_chart(ranks), growth.dead_chart(alone, dead)):
        assert ET.fromstring(chart).tag.endswith("svg")  # noqa: S314 - it is our own


def test_serving(directories: dict[str, Path]) -> None:
    rows = list(serving.scrape_rows(directories["tp8"], 1))
    rows += serving.http_rows(directories["tp1"], seconds=0.1)
    rows += [serving.memory_row(directories["tp1"], (1, 2, 3)), serving.start_row(directories["tp1"], 1)]
    check(rows)


def test_transitions(directories: dict[str, Path], tmp_path: Path) -> None:
    check(transitions.new_series_rows(directories["tp1"], 2))
    check([transitions.death_row(tmp_path, 1, 20), transitions.refused_row(directories["tp8"], 1, 3)])
    check(transitions.resumed_rows(tmp_path, 1, 2))


def test_a_web_application(tmp_path: Path) -> None:
    check(transitions.web_application_rows(tmp_path, 1, (2,)))


def test_watching(tmp_path: Path) -> None:
    for room in ("living", "first", "dead"):
        (tmp_path / room).mkdir()
    check([watching.living_row(tmp_path / "living", 0.1), watching.first_row(tmp_path / "first", 2, 1)])
    check(watching.dead_rows(tmp_path / "dead", 3, 1))


def test_the_page(directories: dict[str, Path]) -> None:
    check(page.look_rows(directories["tp1"], 1, period=0.0))
    check([page.nobody_row(directories["tp1"], 1, period=0.0)])


def test_memory_beside_dead_processes(tmp_path: Path) -> None:
    check([serving.dead_memory_row(tmp_path, 2, 2)])


def test_results_go_between_their_markers(tmp_path: Path) -> None:
    results = tmp_path / "page.md"
    results.write_text("a\n<!-- results: begin -->\nold\n<!-- results: end -->\nb\n")
    report.write_into(results, "results", "new\n")
    assert results.read_text() == "a\n<!-- results: begin -->\n\nnew\n\n<!-- results: end -->\nb\n"
    with pytest.raises(AssertionError, match="no place for profile"):
        report.write_into(results, "profile", "new\n")


def test_the_nodes_figures() -> None:
    counts = "node.WORKERS = node.GPU_PROCESSES = node.FIRST_FILES = 1; node.SCRAPES = 2; node.IDLE = 20"
    small = f"{counts}; node.SETTLE_SECONDS = node.LOOK_SECONDS = 0.5"
    command = [*container(), sys.executable, "-c", f"from benchmarks import node; {small}; node.main()"]
    out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    _, _, *rows = out.strip().splitlines()
    assert len(rows) == 6
    assert all(re.search(r"\d", row.split("|")[2]) for row in rows)
