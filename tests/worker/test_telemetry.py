"""The exporter's own metrics."""

import platform
from dataclasses import replace

import pytest

from exporter import __version__
from exporter.model import Format
from exporter.worker.status import AlsoStatus, Summary
from exporter.worker.telemetry import AlsoTelemetry, Telemetry, WorkerTelemetry, own_names
from tests.support.compare import told
from tests.support.expositions import Exposition

SUMMARY = Summary(
    directory="/d",
    problem="",
    worker_up=True,
    process_counts={"live": 1, "dead": 2},
    file_counts={"live": 1, "removed": 1, "skipped": 1},
    series=42,
    last_update=1234.5,
    file_errors={"empty": 3, "corrupt": 1, "bad_key": 0},
    left_out={"late": 4, "failed": 0},
)
DURATIONS = {"read": 0.25, "merge": 0.5, "render": 1.0, "compress": 2.0}


class Own:
    """Telemetry over durations and a summary that a test can change."""

    def __init__(self) -> None:
        self.durations: dict[str, float] = DURATIONS
        self.summary = SUMMARY
        self.telemetry = Telemetry(lambda: self.durations, [("zone", "z")])
        self.worker = WorkerTelemetry(lambda: self.summary, [("zone", "z")], among_several=True)

    def exposition(self, format_: Format = Format.TEXT_0_0_4) -> Exposition:
        metrics = [*self.telemetry.tell(), *self.worker.tell()]
        return told(sorted(metrics, key=lambda one: one.family.name), format_)


@pytest.fixture(name="own")
def _own() -> Own:
    return Own()


def test_what_the_status_says(own: Own) -> None:
    it = own.exposition()
    it.check()
    (build,) = it.labels("smg_exporter_build_info")
    assert build == {"version": __version__, "python_version": platform.python_version(), "zone": "z"}
    assert it.value("smg_exporter_build_info") == 1
    assert it.value("smg_exporter_up") == 1
    assert it.value("smg_exporter_worker_up") == 1
    assert it.value("smg_exporter_series") == 42
    assert it.value("smg_exporter_last_update_timestamp_seconds") == 1234.5
    for state, count in {"live": 1, "dead": 2, "unknown": 0}.items():
        assert it.value("smg_exporter_processes", state=state) == count
    for state, count in {"live": 1, "dead": 0, "unknown": 0, "removed": 1, "skipped": 1}.items():
        assert it.value("smg_exporter_files", state=state) == count
    for phase, seconds in DURATIONS.items():
        assert it.value("smg_exporter_scrape_duration_seconds", phase=phase) == seconds
    assert it.value("smg_exporter_file_errors_total", reason="empty") == 3
    assert it.value("smg_exporter_file_errors_total", reason="corrupt") == 1


def test_only_a_worker_among_several_can_be_left_out(own: Own) -> None:
    assert own.exposition().value("smg_exporter_answers_without_worker_total", reason="late") == 4
    own.worker = WorkerTelemetry(lambda: own.summary)
    assert "smg_exporter_answers_without_worker_total" not in own.exposition().names


def test_what_changes_is_told_anew(own: Own) -> None:
    own.exposition()
    own.summary = replace(
        SUMMARY, worker_up=False, directory_readable=False, problem="gone", file_counts={}, process_counts={}
    )
    it = own.exposition()
    assert it.value("smg_exporter_up") == 0
    assert it.value("smg_exporter_worker_up") == 0
    assert it.values("smg_exporter_processes") == [0, 0, 0]
    assert it.values("smg_exporter_files") == [0, 0, 0, 0, 0]


def test_what_is_unknown_is_absent(own: Own) -> None:
    own.summary = replace(SUMMARY, worker_up=None, last_update=None)
    names = own.exposition().names
    assert "smg_exporter_worker_up" not in names
    assert "smg_exporter_last_update_timestamp_seconds" not in names


def test_the_phases_are_there_before_the_first_scrape(own: Own) -> None:
    own.durations = {}
    assert own.exposition().values("smg_exporter_scrape_duration_seconds") == [0, 0, 0, 0]


def test_names_and_units_are_as_openmetrics_wants_them(own: Own) -> None:
    own.exposition(Format.OPENMETRICS_1_0_0).check()


def test_reasons_and_codes_are_there_before_the_first_one(own: Own) -> None:
    it = own.exposition()
    assert it.value("smg_exporter_file_errors_total", reason="bad_key") == 0
    for code in ("200", "499", "500", "503"):
        assert it.value("smg_exporter_scrapes_total", code=code) == 0


def test_own_names_are_all_that_may_be_used(own: Own) -> None:
    own.telemetry.count_scrape(503)
    it, names = own.exposition(), own_names()
    assert it.names <= names
    assert {family.name for family in it.families} <= names
    assert {"smg_exporter_file_errors_total", "smg_exporter_file_errors", "smg_exporter_worker_up"} <= names


def test_all_names_are_ours_and_in_order(own: Own) -> None:
    names = [family.name for family in own.exposition().families]
    assert names == sorted(names)
    assert all(name.startswith(("smg_exporter_", "process_")) for name in names)


def test_other_expositions_are_told_by_url_once_they_are_fetched() -> None:
    others = [AlsoStatus("http://localhost:1/metrics", left_out={"stray_line": 0, "name_clash": 2})]
    telemetry = AlsoTelemetry(lambda: others, [("zone", "z")])
    up, url = "smg_exporter_also_up", others[0].url
    assert told(telemetry.tell()).labels(up) == []
    for is_up in (True, False):
        others[0] = replace(others[0], up=is_up)
        assert told(telemetry.tell()).value(up, url=url, zone="z") == is_up
    left_out = "smg_exporter_also_left_out_total"
    assert told(telemetry.tell()).value(left_out, url=url, reason="name_clash") == 2
    assert told(telemetry.tell()).value(left_out, url=url, reason="stray_line") == 0
    others.clear()
    assert telemetry.tell() == []
    assert {up, left_out} <= own_names()
