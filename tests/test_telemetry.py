"""The exporter's own metrics."""

import platform
from dataclasses import replace

import pytest
from prometheus_client import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from exporter import __version__
from exporter.status import FileStatus, ProcessStatus, Status
from exporter.telemetry import Telemetry, own_names
from tests.support.expositions import Exposition

STATUS = Status(
    version="1",
    worker_addr="w",
    directory="/d",
    problem="",
    worker_up=True,
    started=1.0,
    processes=(ProcessStatus("7", "live"), ProcessStatus("8", "dead"), ProcessStatus("9", "dead")),
    files=(
        FileStatus("counter_7.db", "live"),
        FileStatus("counter_8.db", "removed"),
        FileStatus("counter_9.db", "skipped", "is empty"),
    ),
    series=42,
    scrape_durations={"read": 0.25, "merge": 0.5, "render": 1.0, "compress": 2.0},
    last_update=1234.5,
    file_errors={"empty": 3, "corrupt": 1},
)


class Own:
    """Telemetry over a status that a test can change."""

    def __init__(self) -> None:
        self.status = STATUS
        self.telemetry = Telemetry(lambda: self.status)

    def exposition(self) -> Exposition:
        return Exposition(generate_latest(self.telemetry.registry).decode())


@pytest.fixture(name="own")
def _own() -> Own:
    return Own()


def test_what_the_status_says(own: Own) -> None:
    it = own.exposition()
    it.check()
    (build,) = it.labels("smg_exporter_build_info")
    assert build == {"version": __version__, "python_version": platform.python_version()}
    assert it.value("smg_exporter_build_info") == 1
    assert it.value("smg_exporter_up") == 1
    assert it.value("smg_exporter_worker_up") == 1
    assert it.value("smg_exporter_series") == 42
    assert it.value("smg_exporter_last_update_timestamp_seconds") == 1234.5
    for state, count in {"live": 1, "dead": 2, "unknown": 0}.items():
        assert it.value("smg_exporter_processes", state=state) == count
    for state, count in {"live": 1, "dead": 0, "unknown": 0, "removed": 1, "skipped": 1}.items():
        assert it.value("smg_exporter_files", state=state) == count
    for phase, seconds in STATUS.scrape_durations.items():
        assert it.value("smg_exporter_scrape_duration_seconds", phase=phase) == seconds
    assert it.value("smg_exporter_file_errors_total", reason="empty") == 3
    assert it.value("smg_exporter_file_errors_total", reason="corrupt") == 1


def test_what_changes_is_told_anew(own: Own) -> None:
    own.exposition()
    own.status = replace(
        STATUS, worker_up=False, directory_readable=False, problem="gone", files=(), processes=()
    )
    it = own.exposition()
    assert it.value("smg_exporter_up") == 0
    assert it.value("smg_exporter_worker_up") == 0
    assert it.values("smg_exporter_processes") == [0, 0, 0]
    assert it.values("smg_exporter_files") == [0, 0, 0, 0, 0]


def test_what_is_unknown_is_absent(own: Own) -> None:
    own.status = replace(STATUS, worker_up=None, last_update=None)
    names = own.exposition().names
    assert "smg_exporter_worker_up" not in names
    assert "smg_exporter_last_update_timestamp_seconds" not in names


def test_the_phases_are_there_before_the_first_scrape(own: Own) -> None:
    own.status = replace(STATUS, scrape_durations={})
    assert own.exposition().values("smg_exporter_scrape_duration_seconds") == [0, 0, 0, 0]


def test_scrapes_are_counted_by_code(own: Own) -> None:
    assert own.exposition().value("smg_exporter_scrapes_total", code="200") == 0
    for code in (200, 200, 503, 499):
        own.telemetry.count_scrape(code)
    it = own.exposition()
    assert [it.value("smg_exporter_scrapes_total", code=code) for code in ("200", "499", "503")] == [2, 1, 1]


def test_the_process_is_this_one(own: Own) -> None:
    it = own.exposition()
    assert "process_resident_memory_bytes" in it.names
    assert it.value("process_open_fds")
    assert it.value("process_cpu_seconds_total")


def test_names_and_units_are_as_openmetrics_wants_them(own: Own) -> None:
    text = generate_openmetrics(own.telemetry.registry).decode()
    Exposition(text, openmetrics=True).check()


def test_own_names_are_all_that_may_be_used(own: Own) -> None:
    own.telemetry.count_scrape(503)
    it = own.exposition()
    assert it.names <= own_names()
    assert {family.name for family in it.families} <= own_names()
    assert "smg_exporter_file_errors_total" in own_names()
    assert "smg_exporter_worker_up" in own_names()


def test_a_registry_of_its_own_holds_nothing_else(own: Own) -> None:
    assert all(name.startswith(("smg_exporter_", "process_")) for name in own.exposition().names)
