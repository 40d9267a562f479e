"""A real SMG with gRPC workers, whose metrics it cannot reach itself, and the fleet that takes its list of workers."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.error import HTTPError

import pytest

from tests.support.daemon import Daemon, daemon, free_port
from tests.support.peers import program
from tests.support.smg import GrpcWorker, gateway, grpc_worker
from tests.support.waiting import eventually

pytestmark = pytest.mark.peer

LOAD = "sglang:num_running_reqs"
UP = "smg_exporter_target_up"


@pytest.fixture(scope="module", name="workers")
def _workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[GrpcWorker]]:
    """Give three workers; the third has two data-parallel ranks."""
    program("smg")
    directory = tmp_path_factory.mktemp("workers")
    with ExitStack() as stack:
        yield [stack.enter_context(grpc_worker(directory, dp_size=size)) for size in (1, 1, 2)]


@contextmanager
def fleet(directory: Path, url: str, *options: str) -> Iterator[Daemon]:
    with daemon(directory / "fleet", "fleet", f"--smg-url={url}", "--smg-refresh=1", *options) as running:
        yield running


def loads(running: Daemon) -> dict[str, float]:
    """Return the load of each worker in the fleet's answer, by its address; an empty mapping without a target."""
    answer = running.get("/engine_metrics")
    if answer.status == 503:
        return {}
    answer.exposition.check()
    return {sample.labels["worker_addr"]: sample.value for sample in answer.exposition.matching(LOAD)}


def targets_up(running: Daemon) -> dict[str, float]:
    exposition = running.get("/engine_metrics").exposition
    return {sample.labels["worker_addr"]: sample.value for sample in exposition.matching(UP)}


def of(*workers: GrpcWorker) -> dict[str, float]:
    return {worker.url: float(worker.url.rpartition(":")[2]) for worker in workers}


def groups(running: Daemon) -> dict[str, dict[str, str]]:
    """Return the labels that /sd has for each worker."""
    found = json.loads(running.get("/sd").text)
    return {group["labels"]["worker_addr"]: group["labels"] for group in found}


def test_the_fleet_serves_the_grpc_workers_that_smg_cannot(workers: list[GrpcWorker], tmp_path: Path) -> None:
    first, second, _ = workers
    with gateway(tmp_path, [first.url, second.url]) as smg, fleet(tmp_path, smg.url) as running:
        assert loads(running) == of(first, second)
        assert targets_up(running) == {first.url: 1, second.url: 1}
        with pytest.raises(HTTPError) as failed:
            smg.ask("/engine_metrics")
        assert failed.value.read() == b"All backend requests failed"


def test_workers_come_and_go_through_smg(workers: list[GrpcWorker], tmp_path: Path) -> None:
    first, second, third = workers
    with gateway(tmp_path, [first.url, second.url]) as smg, fleet(tmp_path, smg.url) as running:
        assert loads(running) == of(first, second)
        smg.remove(second.url)
        eventually(lambda: loads(running) == of(first), "the worker that SMG no longer has goes")
        assert targets_up(running) == {first.url: 1}, "one that answers goes at once"
        smg.add(second.url, worker_type="prefill", bootstrap_port=9001)
        smg.add(third.url, worker_type="decode")
        eventually(lambda: loads(running) == of(*workers), "the new ones come")
        labels = groups(running)
        assert {url: it["__meta_smg_worker_type"] for url, it in labels.items()} == {
            first.url: "regular",
            second.url: "prefill",
            third.url: "decode",
        }
        landing = {name for it in labels.values() for name in it if not name.startswith("__")}
        assert landing == {"worker_addr"}


def test_a_zmq_worker_is_scraped_where_a_label_says_its_port(
    workers: list[GrpcWorker], tmp_path: Path
) -> None:
    first, second, _ = workers
    with gateway(tmp_path, [first.url]) as smg, fleet(tmp_path, smg.url) as running:
        zmq = f"ipc://{tmp_path}/engine"
        facts = {"connection_mode": "zmq", "runtime_type": "sglang"}
        smg.add(zmq, **facts, labels={"metrics_port": str(second.exporter.port)})
        value = of(second)[second.url]
        eventually(lambda: loads(running) == of(first) | {zmq: value}, "the ZMQ worker is scraped")
        smg.add(f"{zmq}-2", **facts)
        eventually(lambda: running.said("give the worker a label metrics_port"), "the other one is skipped")
        assert running.scrape().values("smg_exporter_discovery_skipped", source="smg") == [1]
        assert f"{zmq}-2" not in groups(running)


@pytest.mark.parametrize("exporter_lives", [False, True], ids=["with its host", "its processes only"])
def test_a_worker_that_dies_stays_though_smg_restarts_without_it(
    workers: list[GrpcWorker], tmp_path: Path, *, exporter_lives: bool
) -> None:
    first, port = workers[0], free_port()
    with grpc_worker(tmp_path) as doomed, ExitStack() as stack:
        urls = [first.url, doomed.url]
        with gateway(tmp_path, urls, port=port) as smg:
            running = stack.enter_context(fleet(tmp_path, smg.url))
            assert loads(running) == of(first, doomed)
            doomed.kill(exporter_too=not exporter_lives)
            eventually(lambda: loads(running) == of(first), "its load goes")
        with gateway(tmp_path, urls, port=port, known=[first.url]):
            eventually(lambda: running.said("vanished from their source while down"), "SMG has forgotten it")
            assert running.scrape().values("smg_exporter_discovery_targets", source="smg") == [1]
            assert targets_up(running) == {first.url: 1, doomed.url: float(exporter_lives)}
            assert groups(running).keys() == set(urls)


def test_a_worker_that_vanishes_is_asked_where_nobody_scrapes_the_fleet(
    workers: list[GrpcWorker], tmp_path: Path
) -> None:
    """Prometheus scrapes the targets of /sd itself; the fleet finds out alone which of two vanished workers lives."""
    first, second, _ = workers
    port = free_port()
    with grpc_worker(tmp_path) as doomed, ExitStack() as stack:
        urls = [first.url, second.url, doomed.url]
        with gateway(tmp_path, urls, port=port) as smg:
            running = stack.enter_context(fleet(tmp_path, smg.url))
            assert groups(running).keys() == set(urls)
            doomed.kill(exporter_too=True)
        with gateway(tmp_path, [first.url, doomed.url], port=port, known=[first.url]):
            left = {first.url, doomed.url}
            eventually(lambda: groups(running).keys() == left, "the one that lives goes, the other one stays")
            assert running.said("vanished from their source while down")
            own = running.scrape().matching(UP)
            assert {sample.labels["worker_addr"]: sample.value for sample in own}[doomed.url] == 0
            targets = json.loads(running.get("/status.json").text)["targets"]
            states = {target["worker_addr"]: (target["state"], target["listed"]) for target in targets}
            assert states == {first.url: ("unknown", True), doomed.url: ("down", False)}
            assert targets_up(running) == {first.url: 1, doomed.url: 0}


def test_the_ranks_of_a_server_are_one_target(workers: list[GrpcWorker], tmp_path: Path) -> None:
    first, _, ranked = workers
    with (
        gateway(tmp_path, [first.url, ranked.url], "--dp-aware") as smg,
        fleet(tmp_path, smg.url) as running,
    ):
        assert smg.urls() == {first.url, f"{ranked.url}@0", f"{ranked.url}@1"}
        assert loads(running) == of(first, ranked)
        assert targets_up(running) == {first.url: 1, ranked.url: 1}


@pytest.mark.parametrize("option", ["--api-key={}", "--control-plane-api-keys=ops:Operations:admin:{}"])
def test_smg_tells_its_workers_to_whom_has_the_key(
    workers: list[GrpcWorker], tmp_path: Path, option: str
) -> None:
    first, key = workers[0], "the-gateways-key"
    file = tmp_path / "key"
    with gateway(tmp_path, [first.url], option.format(key), key=key) as smg:
        with fleet(tmp_path, smg.url) as running:
            assert running.get("/readyz").text == f"no target: {smg.url}/workers: answered 401\n"
        file.write_text(f"{key}\n")
        with fleet(tmp_path, smg.url, f"--smg-api-key-file={file}") as running:
            assert loads(running) == of(first)
