"""Whose the series of an exposition are."""

from collections.abc import Mapping
from itertools import chain

from exporter.model import Snapshot
from exporter.scraping.reading import BodyReader
from exporter.scraping.snapshots import Snapshots
from exporter.top.workers import Workers, is_up
from tests.top.engines import sglang


def snapshot(body: str) -> Snapshot:
    return Snapshots().take(BodyReader(keeps_addresses=True).read(body.encode()))


def running(found: Mapping[str, Snapshot]) -> dict[str, list[float]]:
    """Return the values of running requests, by worker."""
    return {
        worker: [value for one in families if "running" in one.family.name for value in chain(*one.values)]
        for worker, families in found.items()
    }


def test_an_exposition_that_names_nobody_is_of_one() -> None:
    assert running(Workers().take(snapshot(sglang(1)))) == {"": [3.0, 3.0]}


def test_a_fleets_workers_are_told_apart() -> None:
    one, two = (
        sglang(1, ranks=ranks, running=ranks, labels=f'worker_addr="{name}"')
        for ranks, name in ((1, "a"), (2, "b"))
    )
    workers = Workers()
    for _ in range(2):  # the second time, from what is remembered
        assert running(workers.take(snapshot(one + two + "process_open_fds 7\nsmg_exporter_up 1\n"))) == {
            "a": [1.0],
            "b": [2.0, 2.0],
        }
    assert running(workers.take(snapshot(one))) == {"a": [1.0]}


def test_a_worker_without_an_address_has_the_name_of_its_directory() -> None:
    assert [*Workers().take(snapshot(sglang(1, labels='directory="/d"')))] == ["/d"]


def test_what_is_of_no_engine_is_left_out() -> None:
    assert Workers().take(snapshot("node_load1 1\n")) == {}


def test_our_own_metrics_tell_whether_a_worker_is_up() -> None:
    assert is_up(snapshot("smg_exporter_up 1\nsmg_exporter_worker_up 1\n")) is True
    assert is_up(snapshot("smg_exporter_up 1\nsmg_exporter_worker_up 0\n")) is False
    assert is_up(snapshot("smg_exporter_target_up 0\n")) is False
    assert is_up(snapshot("smg_exporter_target_up 1\nsmg_exporter_worker_up 0\n")) is False
    assert is_up(snapshot("smg_exporter_up 1\n")) is None, "its liveness is unknown"
    assert is_up(snapshot(sglang(1))) is True, "it answers"
