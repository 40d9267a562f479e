"""The daemon as a process, on directories that real processes write; real signals."""

import asyncio
import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from blockbuster import blockbuster_ctx
from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

from exporter import __version__
from exporter.options.sources import load
from exporter.options.worker import ServeOptions
from exporter.service.run import serve
from exporter.web.listen import open_sockets
from exporter.worker.serve import make
from tests.support.daemon import (
    GRPC_PORT,
    STOP_DEADLINE,
    Daemon,
    Scraping,
    check_log,
    daemon,
    free_port,
    run,
    slow_reader,
)
from tests.support.expositions import Exposition
from tests.support.files import counter, write
from tests.support.waiting import DEADLINE, eventually
from tests.support.writers import Writer, writer, writers

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
WORKER = f"grpc://127.0.0.1:{GRPC_PORT}"
SIGNALS = (signal.SIGTERM, signal.SIGINT)
PICK_UP = 2.0
"""Seconds within which a change shows: the promised one, and one that a busy machine may add."""


def write_some(process: Writer) -> None:
    """Write a sample of each type."""
    process.add("sglang:requests", 3, model="m")
    process.observe("sglang:latency", 0.5)
    process.observe_summary("sglang:size", 7)
    process.set("sglang:load", 5)
    process.set("sglang:running", 2, "livesum")
    process.set("sglang:rank", 4, "all")


def await_value(it: Daemon, name: str, value: float, **labels: str) -> None:
    """Wait until the one sample of that name with those labels has that value."""
    eventually(lambda: it.scrape().value(name, **labels) == value, f"{name} is {value}", PICK_UP)


def snapshot(directory: Path) -> list[tuple[str, int, int, bytes]]:
    """Return all that can be seen of a directory's files."""
    return [
        (path.name, path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(directory.iterdir())
    ]


@pytest.fixture(name="directory")
def _directory(tmp_path: Path) -> Path:
    directory = tmp_path / "worker"
    directory.mkdir()
    return directory


# --- Serving; one daemon for all of these ---


@pytest.fixture(scope="module", name="live")
def _live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Give the daemon of a live worker."""
    directory = tmp_path_factory.mktemp("live") / "worker"
    directory.mkdir()
    with writer(directory) as process:
        write_some(process)
        with daemon(directory) as it:
            yield it


def test_the_workers_metrics_are_served(live: Daemon) -> None:
    it = live.scrape()
    it.check()
    assert it.value("sglang:requests_total", model="m") == 3
    assert it.value("sglang:latency_bucket", le="1.0") == 1
    assert it.value("sglang:latency_sum") == 0.5
    assert it.value("sglang:size_count") == 1
    assert it.value("sglang:load") == 5
    assert it.value("sglang:running") == 2
    assert it.value("sglang:rank") == 4
    assert "pid" in it.labels("sglang:rank")[0]
    assert {sample.labels["worker_addr"] for sample in it.samples} == {WORKER}


def test_its_own_metrics_are_served(live: Daemon) -> None:
    it = live.scrape()
    assert it.value("smg_exporter_up") == 1
    assert it.value("smg_exporter_worker_up") == 1
    assert it.value("smg_exporter_processes", state="live") == 1
    assert it.value("smg_exporter_files", state="live") == 6
    assert it.value("smg_exporter_series") == sum(name.startswith("sglang:") for name in names(it))
    assert abs((it.value("smg_exporter_last_update_timestamp_seconds") or 0) - time.time()) < 600
    assert it.value("process_resident_memory_bytes")
    again = live.scrape()
    assert again.value("smg_exporter_scrape_duration_seconds", phase="render")
    before, after = (e.value("smg_exporter_scrapes_total", code="200") or 0 for e in (it, again))
    assert after == before + 1


def names(exposition: Exposition) -> list[str]:
    return [sample.name for sample in exposition.samples]


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("*/*", TEXT),
        ("application/openmetrics-text; version=1.0.0", OPENMETRICS),
        (
            "text/plain; version=1.0.0; escaping=allow-utf-8",
            "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
        ),
    ],
)
@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_formats_and_encodings(live: Daemon, accept: str, content_type: str, encoding: str) -> None:
    answer = live.get("/metrics", {"Accept": accept, "Accept-Encoding": encoding})
    assert answer.headers["Content-Type"] == content_type
    assert answer.headers["Vary"] == "Accept, Accept-Encoding"
    assert answer.headers.get("Content-Encoding") == ("gzip" if encoding == "gzip" else None)
    answer.exposition.check()
    assert answer.exposition.value("sglang:requests_total") == 3


def test_head_is_get_without_the_body(live: Daemon) -> None:
    answer = live.get("/metrics", method="HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Content-Type"] == TEXT
    assert int(answer.headers["Content-Length"]) > 1000


@pytest.mark.parametrize("path", ["/healthz", "/-/healthy", "/readyz", "/-/ready"])
def test_health_and_readiness(live: Daemon, path: str) -> None:
    answer = live.get(path)
    assert (answer.status, answer.text) == (200, "ok\n")


def test_the_status_in_both_forms(live: Daemon) -> None:
    page = live.get("/")
    assert page.status == 200
    assert "Worker is up" in page.text
    assert WORKER in page.text
    told = facts(live)
    assert (told["worker_addr"], told["worker_up"], told["problem"]) == (WORKER, True, "")
    assert len(told["files"]) == 6


def test_what_is_not_there(live: Daemon) -> None:
    assert live.get("/metric").status == 404
    assert live.get("/metrics", method="POST").status == 405


def test_it_is_quiet_per_scrape(live: Daemon) -> None:
    before = live.log
    for _ in range(5):
        live.scrape()
    assert live.log == before


def test_it_listens_on_ipv6_too(directory: Path) -> None:
    with daemon(directory, hosts=("127.0.0.1", "::1")) as it:
        assert it.get("/healthz", host="::1").status == 200
        assert it.get("/healthz", host="127.0.0.1").status == 200
        assert it.said(f"url=http://[::1]:{it.port}/metrics")


def test_it_listens_everywhere_by_default(directory: Path) -> None:
    with daemon(directory, hosts=()) as it:
        for host in ("::1", "127.0.0.1", "127.0.0.2"):
            assert it.get("/healthz", host=host).status == 200


# --- Options ---


def test_labels_and_path(directory: Path) -> None:
    options = ("--label=zone=a", "--no-worker-addr-label", "--telemetry-path=/worker/metrics")
    with writer(directory) as process, daemon(directory, *options) as it:
        write_some(process)
        assert it.get("/metrics").status == 404
        exposition = eventually(
            lambda: e if (e := it.get("/worker/metrics").exposition).values("sglang:load") else None,
            "the worker's metrics",
        )
        assert {sample.labels["zone"] for sample in exposition.samples} == {"a"}
        assert not any("worker_addr" in sample.labels for sample in exposition.samples)


def test_per_process_merges_nothing(directory: Path) -> None:
    with writers(directory, 2) as processes:
        for process in processes:
            write_some(process)
        with daemon(directory, "--per-process", "--no-self-metrics") as it:
            exposition = it.scrape()
    exposition.check()
    pids = {str(process.pid) for process in processes}
    assert {sample.labels.get("pid") for sample in exposition.samples} == pids
    for pid in pids:
        assert exposition.value("sglang:requests_total", pid=pid) == 3
        assert exposition.value("sglang:running", pid=pid) == 2
    assert all(name.startswith("sglang:") for name in exposition.names)


def test_without_liveness_the_dead_count(directory: Path) -> None:
    with writer(directory) as process:
        write_some(process)
    with daemon(directory, "--liveness=off") as it:
        exposition = it.scrape()
    assert exposition.value("sglang:running") == 2
    assert "smg_exporter_worker_up" not in exposition.names
    assert exposition.value("smg_exporter_processes", state="unknown") == 1


def test_gauges_can_be_kept(directory: Path) -> None:
    with writer(directory) as process:
        write_some(process)
        with daemon(directory, "--when-worker-down=keep-gauges") as it:
            process.kill()
            exposition = down(it)
    assert exposition.value("sglang:load") == 5
    assert exposition.values("sglang:running") == [], "the dead run nothing"


def test_the_stock_collector_can_be_served(directory: Path) -> None:
    with writer(directory) as process:
        write_some(process)
        with daemon(directory, "--collector=stock") as it:
            exposition = it.scrape()
    exposition.check()
    assert exposition.value("sglang:requests_total", model="m", worker_addr=WORKER) == 3
    assert exposition.value("smg_exporter_up") == 1


def test_logs_can_be_json(directory: Path) -> None:
    with daemon(directory, log_format="json") as it:
        pass
    events = [json.loads(line) for line in it.log]
    assert [event["msg"] for event in events] == [
        "watching directory",
        "started",
        "listening",
        "nothing to serve yet",
        "stopping",
        "stopped",
    ]
    assert events[1]["directory"] == str(directory)
    assert (events[1]["worker"], events[1]["port"], events[1]["version"]) == (WORKER, it.port, __version__)
    assert events[2]["url"] == f"{it.url}/metrics"


AMBIGUOUS = "workers on other hosts may have the same address"


def test_a_loopback_address_is_warned_of_where_others_can_scrape_it(directory: Path) -> None:
    with daemon(directory, hosts=("0.0.0.0",)) as it:
        assert it.said(AMBIGUOUS)
    with daemon(directory, "--grpc-host=worker.example", hosts=("0.0.0.0",)) as it:
        assert not it.said(AMBIGUOUS)
    with daemon(directory) as it:
        assert not it.said(AMBIGUOUS)


def test_it_writes_nothing_where_the_worker_does(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with writer(directory) as process:
        write_some(process)
        before = snapshot(directory)
        monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(directory))
        with daemon(directory) as it:
            for _ in range(3):
                it.scrape()
            process.kill()
            down(it)
        assert snapshot(directory) == before


# --- Refusing to start ---


def one_line(*words: str) -> tuple[int, str]:
    """Run the daemon where it cannot start; return its exit code and only line."""
    result = run(*words)
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("smg-exporter: error: ")
    return result.returncode, line


@pytest.mark.parametrize("rule", ["--grpc-port", "--listen-port"])
def test_a_taken_port(directory: Path, rule: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        grpc_port = port - 10_000
        words = [f"--grpc-port={grpc_port}", f"--multiproc-dir={directory}"]
        code, line = one_line(*words, *[f"--listen-port={port}"] * (rule == "--listen-port"))
    assert code == 1
    chosen = (
        f"derived from --grpc-port {grpc_port} (+10000)" if rule == "--grpc-port" else f"chosen by {rule}"
    )
    assert f"port {port}: the port is in use; it was {chosen}: " in line
    assert line.endswith("choose another with --listen-port")


def test_a_bad_option(directory: Path) -> None:
    code, line = one_line("--grpc-port=0", f"--multiproc-dir={directory}")
    assert code == 2
    assert line == "smg-exporter: error: --grpc-port: '0' is not a port from 1 to 65535"


# --- Signals ---

LARGE = ("--liveness=off", f"--label=long={'x' * 2000}")
"""Options that make a recorded directory's exposition more than the kernel takes from who does not read."""


@pytest.mark.parametrize("number", SIGNALS)
def test_a_scrape_in_flight_is_finished_before_the_end(
    recorded: dict[str, Path], number: signal.Signals
) -> None:
    with daemon(recorded["tp8"], *LARGE) as it:
        length = int(it.get("/metrics", method="HEAD").headers["Content-Length"])
        with slow_reader(it) as scrape:
            start = time.monotonic()
            it.signal(number)
            eventually(lambda: it.said("msg=stopping"), "it stops")
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((it.host, it.port), timeout=DEADLINE)
            assert it.popen.poll() is None, "the scrape is in flight"
            rest = read_all(scrape)
        assert it.wait() == 0
        assert time.monotonic() - start < STOP_DEADLINE
        body = rest.partition(b"\r\n\r\n")[2]
        assert abs(len(body) - length) < 200, "own metrics have a few digits more or less"
        assert body.endswith(b"\n")
        socket.create_server((it.host, it.port)).close()
        assert it.log[-1].endswith("msg=stopped")


def read_all(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(1 << 16), b""))


def test_a_scrape_that_does_not_finish_is_cut_off(recorded: dict[str, Path]) -> None:
    with daemon(recorded["tp8"], *LARGE) as it, slow_reader(it):
        it.signal(signal.SIGTERM)
        assert it.wait() == 0


@pytest.mark.parametrize("number", SIGNALS)
def test_a_second_signal_ends_it_at_once(recorded: dict[str, Path], number: signal.Signals) -> None:
    with daemon(recorded["tp8"], *LARGE) as it, slow_reader(it):
        it.signal(number)
        eventually(lambda: it.said("msg=stopping"), "it stops")
        assert it.popen.poll() is None, "the scrape is in flight"
        it.signal(number)
        assert it.wait(within=1.5) == 1


@pytest.mark.parametrize("what", ["read", "look"])
def test_a_disk_that_hangs_does_not_keep_it(directory: Path, what: str) -> None:
    with daemon(directory, program=("-m", "tests.support.hanging", what)) as it:
        assert it.get("/healthz").status == 200
        timeout = {"X-Prometheus-Scrape-Timeout-Seconds": "0.2"}
        assert it.get("/metrics", timeout).status == 503
        it.signal(signal.SIGTERM)
        assert it.wait() == 0


# --- The directory ---


def test_a_directory_that_is_missing_at_first(directory: Path) -> None:
    directory.rmdir()
    with daemon(directory) as it:
        assert it.said("nothing to serve yet")
        assert it.scrape().value("smg_exporter_up") == 0
        not_ready = it.get("/readyz")
        assert (not_ready.status, not_ready.text) == (503, f"{directory}: No such file or directory\n")
        assert it.get("/healthz").status == 200
        directory.mkdir()
        with writer(directory) as process:
            process.add("c")
            await_value(it, "c_total", 1)
            assert it.scrape().value("smg_exporter_up") == 1
            assert it.get("/readyz").status == 200


def test_a_directory_that_vanishes_and_comes_back(directory: Path) -> None:
    with daemon(directory) as it, Scraping(it) as scraping:
        for number in (1, 2):
            with writer(directory) as process:
                process.add("c", number)
                await_value(it, "c_total", number)
            shutil.rmtree(directory)
            await_value(it, "smg_exporter_up", 0)
            assert "c_total" not in it.scrape().names
            directory.mkdir()
    assert scraping.failures == []


def test_a_directory_that_another_is_renamed_over(directory: Path) -> None:
    other = directory.with_name("other")
    other.mkdir()
    with writer(directory) as first, writer(other) as second:
        first.add("c", 100)
        second.add("c", 1)
        with daemon(directory) as it:
            assert it.scrape().value("c_total") == 100
            directory.rename(directory.with_name("gone"))
            other.rename(directory)
            await_value(it, "c_total", 1)
            second.add("c", 1)
            assert it.scrape().value("c_total") == 2, "no scrape is older than its question"


def test_what_is_written_shows_in_the_next_scrape(directory: Path) -> None:
    with writer(directory) as process:
        process.add("c")
        with daemon(directory) as it:
            for number in range(2, 20):
                process.add("c")
                assert it.scrape().value("c_total") == number


# --- Death ---


def down(it: Daemon) -> Exposition:
    """Wait until the worker is seen to be down; return what is served then."""
    return eventually(
        lambda: e if (e := it.scrape()).value("smg_exporter_worker_up") == 0 else None, "it is down", 2
    )


def test_a_killed_worker(directory: Path) -> None:
    with writers(directory, 2) as processes, daemon(directory) as it:
        for process in processes:
            write_some(process)
        await_value(it, "sglang:requests_total", 6)
        with Scraping(it) as scraping:
            for process in processes:
                process.kill()
            after = down(it)
        assert scraping.failures == []
        for name in ("sglang:load", "sglang:running", "sglang:rank"):
            assert after.values(name) == []
        assert after.value("sglang:requests_total") == 6
        assert after.value("sglang:latency_count") == 2
        assert after.value("sglang:size_sum") == 14
        assert after.value("smg_exporter_processes", state="dead") == 2
        assert "Worker is down" in it.get("/").text
        assert it.said('msg="worker state changed" worker=down')


def test_one_of_two_killed(directory: Path) -> None:
    with writers(directory, 2) as (dying, living), daemon(directory) as it:
        for process in (dying, living):
            process.add("c", 3)
            process.set("sum", 2, "livesum")
            process.set("liveall", 4, "liveall")
            process.set("all", 5, "all")
        await_value(it, "c_total", 6)
        assert it.scrape().value("sum") == 4
        dying.kill()
        it_is = eventually(lambda: e if (e := it.scrape()).value("sum") == 2 else None, "one is left", 2)
        assert [labels["pid"] for labels in it_is.labels("liveall")] == [str(living.pid)]
        assert {labels["pid"] for labels in it_is.labels("all")} == {str(living.pid), str(dying.pid)}
        assert it_is.value("c_total") == 6
        assert it_is.value("smg_exporter_worker_up") == 1
        assert it_is.value("smg_exporter_processes", state="dead") == 1
        living.add("c", 1)
        assert it.scrape().value("c_total") == 7


def test_a_counter_never_falls_while_processes_and_files_come_and_go(directory: Path) -> None:
    with writer(directory) as steady, daemon(directory) as it:
        steady.add("c")
        steady.observe("h", 0.5)
        await_value(it, "c_total", 1)
        total = 1
        with Scraping(it) as scraping:
            for round_ in range(4):
                with writer(directory) as passing:
                    passing.add("c", 10)
                    passing.observe("h", 0.5)
                    total += 10
                    await_value(it, "c_total", total)
                    await_value(it, "h_count", round_ + 2)  # else its file could go before anybody saw it
                if round_ % 2:
                    for path in passing.files(directory):
                        path.unlink()
                    await_value(it, "smg_exporter_files", round_ + 1, state="removed")
                steady.add("c")
                total += 1
                scraping.once_more()
        assert scraping.failures == []
        for name in ("c_total", "h_count", "h_sum"):
            seen = [value for e in scraping.expositions for value in e.values(name)]
            assert len(seen) == len(scraping.expositions)
            assert all(low <= high for low, high in pairwise(seen)), name
        assert it.scrape().value("c_total") == total


def test_what_a_process_wrote_counts_though_nobody_scraped_before_its_files_went(directory: Path) -> None:
    with writers(directory, 2) as (steady, passing), daemon(directory) as it:
        for process in (steady, passing):
            process.add("c")
        eventually(lambda: facts(it)["series"] == 1, "the files are read", PICK_UP)
        passing.add("c", 9)
        killed = time.time()
        passing.kill()
        eventually(lambda: (facts(it)["last_update"] or 0) > killed, "they are read a last time", PICK_UP)
        for path in passing.files(directory):
            path.unlink()
        eventually(lambda: "removed" in it.get("/status.json").text, "they are missed", PICK_UP)
        assert facts(it)["last_scrape"] is None
        assert it.scrape().value("c_total") == 11


def facts(it: Daemon) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(it.get("/status.json").text)
    return facts


def test_a_pid_that_is_given_anew(directory: Path) -> None:
    with writer(directory) as first, writer(directory) as second, daemon(directory) as it:
        first.add("c", 5)
        first.set("g", 1, "livesum")
        first.kill()
        for path in first.files(directory):
            # The first process's file, had it had the pid that the second has now.
            heir = path.with_name(path.name.replace(str(first.pid), str(second.pid)))
            path.rename(heir)
            os.utime(heir, (1_000_000_000, 1_000_000_000))
        stranger = down(it)
        assert stranger.value("c_total") == 5
        assert stranger.values("g") == [], "whoever has the pid now did not write this"
        second.add("c", 1)  # goes on with the file
        assert it.scrape().value("c_total") == 6
        second.set("g", 3, "livesum")
        await_value(it, "smg_exporter_worker_up", 1)
        assert it.scrape().value("g") == 3


# --- Several directories ---


def test_several_workers_are_served_in_one_answer(tmp_path: Path) -> None:
    for rank in (0, 1):
        (tmp_path / f"dp{rank}").mkdir()
        write(tmp_path / f"dp{rank}" / "counter_1.db", {counter("x"): 1})
    both = [f"--multiproc-dir={tmp_path}/dp{rank},rank={rank}" for rank in (0, 1)]
    with daemon(tmp_path / "any", *both, "--liveness=off") as it:
        served = it.scrape()
        served.check()
        assert served.labels("x_total") == [{"worker_addr": WORKER, "rank": rank} for rank in "01"]
        told = facts(it)
        assert (told["ready"], [one["labels"]["rank"] for one in told["workers"]]) == (True, ["0", "1"])
        assert "Processes of rank=1" in it.get("/").text
        assert it.said(f'directory="{tmp_path}/dp0, {tmp_path}/dp1"')
        shutil.rmtree(tmp_path / "dp1")
        eventually(lambda: it.scrape().value("smg_exporter_up", rank="1") == 0, "it is seen")
        served = it.scrape()
        assert served.labels("x_total") == [{"worker_addr": WORKER, "rank": "0"}]
        assert served.value("smg_exporter_up", rank="0") == 1
        assert it.get("/readyz").status == 200
        shutil.rmtree(tmp_path / "dp0")
        eventually(lambda: it.get("/readyz").status == 503, "none is left")
        assert it.get("/readyz").text == (
            f"{tmp_path}/dp0: No such file or directory; 1 more worker cannot be served either\n"
        )


def test_directories_that_match_come_and_go(tmp_path: Path) -> None:
    with daemon(tmp_path / "any", f"--multiproc-dir={tmp_path}/dp*", "--liveness=off") as it:
        assert it.get("/readyz").text == f"{tmp_path}/dp*: No such directory\n"
        for rank, total in ((0, 1), (1, 2)):
            (tmp_path / f"dp{rank}").mkdir()
            write(tmp_path / f"dp{rank}" / "counter_1.db", {counter("x"): 1})
            eventually(lambda: it.get("/readyz").status == 200, "it is found")
            eventually(lambda: it.scrape().values("x_total") == [total], "it is served")  # noqa: B023 - it is asked at once
        shutil.rmtree(tmp_path / "dp0")
        eventually(lambda: it.scrape().value("smg_exporter_files", state="removed") == 1, "it is seen")
        assert it.scrape().value("x_total") == 2
        write(tmp_path / "dp1" / "counter_1.db", {counter("x"): 5})
        assert it.scrape().value("x_total") == 6


def test_without_a_port_there_is_no_address(directory: Path) -> None:
    write(directory / "counter_1.db", {counter("x"): 1})
    with daemon(directory, "--liveness=off", port_of_worker=False) as it:
        assert it.scrape().labels("x_total") == [{}]
    with daemon(directory, "--liveness=off", "--worker-addr=my app", port_of_worker=False) as it:
        assert it.scrape().labels("x_total") == [{"worker_addr": "my app"}]


# --- The event loop ---


def test_the_engine_view_is_that_of_the_metrics(tmp_path: Path) -> None:
    with writer(tmp_path) as process, daemon(tmp_path) as it:
        process.set("sglang:num_running_reqs", 5)
        process.add("sglang:num_requests", 3)

        def view(query: str = "") -> dict[str, Any]:
            answer = it.get(f"/engine.json{query}")
            assert answer.status == 200, answer.text
            (worker,) = json.loads(answer.body)["workers"]
            return dict(worker)

        eventually(lambda: view()["requests"]["running"] == 5, "the view has what the metrics have")
        assert it.get("/metrics").exposition.values("sglang:num_running_reqs") == [5]
        before = view()
        assert (before["worker_addr"], before["up"], before["engine"]) == (WORKER, True, "sglang")
        process.add("sglang:num_requests", 40)
        eventually(lambda: (view()["requests"]["per_second"] or 0) > 0, "requests come in")
        after = view()
        passed = after["time"] - before["history"]["times"][0]
        assert after["requests"]["per_second"] == pytest.approx(40 / after["window_seconds"])
        assert after["window_seconds"] <= passed
        newer = view(f"?since={before['time']}")["history"]["times"]
        assert newer == [time for time in after["history"]["times"] if time > before["time"]]


# --- Beside another exposition ---


@contextmanager
def exposition(port: int) -> Iterator[None]:
    """Serve an exposition: a series of its own, and what the worker or the exporter has already."""
    registry = CollectorRegistry()
    Counter("servicer_requests", "Requests.", registry=registry).inc(7)
    Gauge("sglang:load", "The series of the worker.", registry=registry).set(9)
    Gauge("sglang:latency", "Another type than the worker's.", registry=registry)
    Gauge("smg_exporter_up", "The exporter's own.", registry=registry).set(9)
    server, thread = start_http_server(port, "127.0.0.1", registry)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(DEADLINE)


def test_another_exposition_may_come_and_go_beside_the_worker(directory: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/metrics"
    reasons = ("duplicate_series", "type_conflict", "reserved_name")
    with writer(directory) as process:
        write_some(process)
        with daemon(directory, f"--also={url}") as it:
            ours = [sample for sample in it.scrape().samples if sample.name.startswith("sglang:")]
            assert ours

            def scrape(*, up: bool) -> dict[str, float]:
                """Scrape, and return what has been left out of answers so far, by reason."""
                answer = it.scrape()
                answer.check()
                assert [one for one in answer.samples if one.name.startswith("sglang:")] == ours
                assert answer.value("smg_exporter_also_up", url=url) == up
                assert answer.value("servicer_requests_total", worker_addr=WORKER) == (7 if up else None)
                left_out = answer.matching("smg_exporter_also_left_out_total", url=url)
                return {one.labels["reason"]: one.value for one in left_out if one.value}

            for answers in (2, 4):
                scrape(up=False)
                with exposition(port):
                    assert scrape(up=True) == dict.fromkeys(reasons, answers - 1)
                    assert scrape(up=True) == dict.fromkeys(reasons, answers)
                assert scrape(up=False) == dict.fromkeys(reasons, answers)
            lines = [line for line in it.log if "exposition of --also" in line]
            assert ["left out" in line for line in lines] == [True, False, True, False, True]
            assert all(url in line for line in lines)


async def test_the_event_loop_is_never_blocked(recorded: dict[str, Path], tmp_path: Path) -> None:
    directory = tmp_path / "worker"
    shutil.copytree(recorded["tp1"], directory)
    port = free_port()
    settings = load(
        ServeOptions, {"grpc_port": "8001", "multiproc_dir": str(directory), "listen_port": str(port)}
    )
    sockets = open_sockets(["127.0.0.1"], port)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client, asyncio.timeout(DEADLINE):
        serving = asyncio.create_task(serve(partial(make, settings), sockets, ""))
        assert await body(client, "/healthz") == "ok\n"
        with blockbuster_ctx():
            for path in ("/metrics", "/", "/status.json", "/readyz", "/metrics"):
                assert await body(client, path)
            assert "sglang:" in await body(client, "/metrics")
            await asyncio.to_thread((directory / "counter_14107.db").unlink)
            while "removed" not in (await body(client, "/status.json")):  # the watch goes on meanwhile
                assert not serving.done()
            assert "sglang:" in await body(client, "/metrics")
            os.kill(os.getpid(), signal.SIGTERM)
            assert await serving == 0


async def body(client: aiohttp.ClientSession, path: str) -> str:
    async with client.get(path) as answer:
        assert answer.status == 200
        return await answer.text()


async def test_a_watch_that_fails_ends_the_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        if (tmp_path / "counter_1.db").exists():
            raise LookupError("a fault of ours")

    settings = load(ServeOptions, {"grpc_port": "8001", "multiproc_dir": str(tmp_path)})
    monkeypatch.setattr("exporter.worker.watch._log_change", fail)
    caplog.set_level("INFO", "exporter")
    async with asyncio.timeout(DEADLINE):
        serving = asyncio.create_task(serve(partial(make, settings), open_sockets(["127.0.0.1"], 0), ""))
        await asyncio.to_thread(
            eventually, lambda: "listening" in caplog.text or serving.done(), "it listens"
        )
        (tmp_path / "counter_1.db").touch()
        assert await serving == 1
    (error,) = (record for record in caplog.records if record.levelname == "ERROR")
    assert error.message == "the watch of the directory failed"


def test_the_check_of_logs_finds_a_traceback() -> None:
    with pytest.raises(AssertionError):
        check_log(["ts=x level=info msg=listening", "Traceback (most recent call last):"])
