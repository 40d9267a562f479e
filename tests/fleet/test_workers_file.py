"""Targets from a file; a bad edit takes none away."""

import json
import logging
import os
import threading
from pathlib import Path

import pytest

from exporter.fleet.sources import Source
from exporter.fleet.workers_file import WorkersFile
from tests.fleet.sourced import workers
from tests.support.targets import DEADLINE

GROUPS = [{"targets": ["grpc://a:1", "grpc://b:1"], "labels": {"rack": "x"}}, {"targets": ["c:9400"]}]


@pytest.mark.parametrize("suffix", [".json", ".yaml", ".yml"])
async def test_a_file_is_json_or_yaml(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"workers{suffix}"
    text = json.dumps(GROUPS)
    if suffix != ".json":
        text = "- targets: ['grpc://a:1', grpc://b:1]\n  labels: {rack: x}\n- targets:\n  - c:9400\n"
    file.write_text(text)
    source = Source("file", WorkersFile(file))
    await source.refresh()
    assert workers(source) == ["grpc://a:1", "grpc://b:1", "http://c:9400"]
    assert source.targets[0].labels == {"rack": "x"}
    assert source.problem == ""


BAD_FILES = {
    "no YAML": "- targets: [",
    "no list": "targets: []",
    "no group": "- x",
    "no targets": "- labels: {}",
    "no labels": "- {targets: [], labels: [x]}",
    "an alias bomb of a type": "!!python/object/apply:os.getcwd []",
    "empty": "",
    "no text": "\x00",
    "no number": '- targets: [!!int ""]',
    "no time": "- targets: [!!timestamp x]",
    "no truth": "- targets: [!!bool x]",
    "a key twice": "- {targets: [grpc://a:1], targets: [grpc://b:1]}",
}


@pytest.mark.parametrize("text", BAD_FILES.values(), ids=BAD_FILES)
async def test_a_bad_edit_keeps_the_targets_and_a_good_one_brings_new_ones(tmp_path: Path, text: str) -> None:
    file = tmp_path / "workers.yaml"
    file.write_text("- targets: [grpc://a:1]")
    source = Source("file", WorkersFile(file))
    await source.refresh()
    read = source.last_success
    file.write_text(text)
    await source.refresh()
    assert workers(source) == ["grpc://a:1"]
    assert source.problem.startswith(str(file))
    assert "\n" not in source.problem
    assert source.last_success == read
    file.write_text("- targets: [grpc://b:1]")
    await source.refresh()
    assert workers(source) == ["grpc://b:1"]
    assert source.problem == ""


async def test_a_key_that_is_given_twice_in_json_is_refused_as_in_yaml(tmp_path: Path) -> None:
    file = tmp_path / "workers.json"
    file.write_text('[{"targets": ["grpc://a:1"], "targets": ["grpc://b:1"]}]')
    source = Source("file", WorkersFile(file))
    await source.refresh()
    assert source.problem == f"{file}: 'targets' is given twice"


async def test_a_file_that_is_away_keeps_the_targets(tmp_path: Path) -> None:
    file = tmp_path / "workers.yaml"
    source = Source("file", WorkersFile(file))
    await source.refresh()
    assert source.problem == f"{file}: No such file or directory"
    file.write_text("- targets: [grpc://a:1]")
    await source.refresh()
    file.unlink()
    await source.refresh()
    assert workers(source) == ["grpc://a:1"]
    assert source.problem
    file.write_text("- targets: [grpc://a:1]")
    await source.refresh()
    assert source.problem == ""


async def test_malformed_entries_are_skipped_counted_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "exporter")
    file = tmp_path / "workers.yaml"
    file.write_text("- targets: [grpc://a:1, 'ftp://b', grpc://c]")
    source = Source("file", WorkersFile(file))
    for _ in range(3):
        await source.refresh()
    assert workers(source) == ["grpc://a:1"]
    assert source.skipped == 2
    assert [reason.partition(" is not ")[0] for reason in source.reasons] == ["'ftp://b'", "'grpc://c'"]
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 2, "each is logged once"


async def test_a_file_that_hangs_is_told_and_takes_one_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.fleet.sources._PATIENCE", 0.05)
    file = tmp_path / "workers.yaml"
    file.write_text("- targets: [grpc://a:1]")
    source = Source("file", WorkersFile(file))
    await source.refresh()
    file.unlink()
    os.mkfifo(file)  # whoever opens it waits for a writer
    await source.refresh()
    threads = threading.active_count()
    for _ in range(3):
        await source.refresh()
    assert source.problem == "file: not read within 0.05 s"
    assert workers(source) == ["grpc://a:1"]
    assert threading.active_count() == threads
    file.write_text("- targets: [grpc://b:1]")
    monkeypatch.setattr("exporter.fleet.sources._PATIENCE", DEADLINE)
    await source.refresh()
    assert (workers(source), source.problem) == (["grpc://b:1"], "")
