"""Whole answers of live daemons, kept as files: HELP, TYPE, order, format and the own metrics of each.

`pytest --update-golden` rewrites the files in tests/golden with what is served.
"""

import os
import re
import shutil
from pathlib import Path

import pytest

from tests.support.daemon import daemon
from tests.support.waiting import eventually

GOLDEN = Path(__file__).parent / "golden"

SCHEDULER, SERVICER = "14107", "14108"
"""The pids in the names of the recorded files."""
NOBODY = str(2**22 + 1)
"""A pid that no process has: Linux gives none above 2 ** 22."""

UNFIXED = {
    r"^(process_\w+(\{.*\})?) .*": r"\1 *",
    r"^(smg_exporter_(\w+_)?duration_seconds\{.*\}) .*": r"\1 *",
    r"^(smg_exporter_scrape_phase_seconds_(bucket|sum)\{.*\}) .*": r"\1 *",
    r"^(smg_exporter_last_update_timestamp_seconds(\{.*\})?) .*": r"\1 *",
    r'^(smg_exporter_build_info\{.*)python_version="[^"]*",version="[^"]*"': r'\1python_version="*",version="*"',
    rf'pid="{os.getpid()}"': 'pid="*"',
}
"""What differs from run to run, or from machine to machine, and what takes its place."""


def fixed(text: str) -> str:
    for pattern, replacement in UNFIXED.items():
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    return text


@pytest.fixture(scope="module")
def served(recorded: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Give the answers by name, of a worker whose scheduler lives and whose servicer is dead, and of a fleet of it.

    The scheduler's histograms are left out: 600 lines more that are like the servicer's.
    """
    directory = tmp_path_factory.mktemp("golden") / "worker"
    directory.mkdir()
    pids = {SCHEDULER: str(os.getpid()), SERVICER: NOBODY}
    for path in recorded["tp1"].iterdir():
        kind, _, pid = path.stem.rpartition("_")
        if (kind, pid) != ("histogram", SCHEDULER):
            # Newer than this process, which so may have written it.
            shutil.copyfile(path, directory / f"{kind}_{pids[pid]}.db")
    with daemon(directory) as worker:
        eventually(lambda: worker.get("/readyz").status == 200, "the files are read")
        worker.scrape()
        answers = {"worker.txt": worker.get("/metrics").text}
        option = f"--worker=grpc://worker:8001={worker.url}/metrics"
        with daemon(directory.with_name("fleet"), "fleet", option) as fleet:
            fleet.get("/engine_metrics")
            answers["fleet.txt"] = fleet.get("/engine_metrics").text
            answers["fleet-own.txt"] = fleet.get("/metrics").text
    return answers


@pytest.mark.parametrize("name", ["worker.txt", "fleet.txt", "fleet-own.txt"])
def test_the_answer_is_the_golden_one(name: str, served: dict[str, str], pytestconfig: pytest.Config) -> None:
    got = fixed(served[name])
    golden = GOLDEN / name
    if pytestconfig.getoption("--update-golden"):
        golden.write_text(got)
    assert got == golden.read_text(), (
        f"tests/golden/{name} is not what is served; where that is meant, "
        "make test ARGS='tests/test_golden.py --update-golden'"
    )
