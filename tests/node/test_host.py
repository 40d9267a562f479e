"""What an operator gets who runs `node`, or `--grpc-port`, and nothing else: a host of its own, with three workers."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from exporter.addresses import NODE_PORT, derived_metrics_port
from tests.support.daemon import ROOT
from tests.support.expositions import Exposition
from tests.support.hosts import container, hosted, machine, network
from tests.support.waiting import eventually

NODE = f"http://localhost:{NODE_PORT}/metrics"
SINGLE = f"http://localhost:{derived_metrics_port(8001)}/metrics"
CONTAINERS_ADDRESS = "10.77.0.2"
HERE, BESIDE, THERE = (
    f"grpc://{socket.gethostname()}:8001",
    f"http://{socket.gethostname()}:8002",
    f"grpc://{CONTAINERS_ADDRESS}:8001",
)

_GET = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=10).read().decode())"


class Machine:
    """A host of its own. `enter` begins a command line that runs there."""

    def __init__(self, enter: list[str]) -> None:
        self.enter = enter

    def by_worker(self, url: str, name: str, **labels: str) -> Mapping[str, float]:
        """Return the values of that name and with those labels that an exporter answers, by worker.

        There are none while nobody listens.
        """
        command = [*self.enter, sys.executable, "-c", _GET, url]
        answer = Exposition(subprocess.run(command, capture_output=True, text=True, check=False).stdout)
        return {sample.labels["worker_addr"]: sample.value for sample in answer.matching(name, **labels)}

    def live(self, url: str) -> Mapping[str, float]:
        """Return how many processes live of each worker that has any."""
        found = self.by_worker(url, "smg_exporter_processes", state="live")
        return {worker: count for worker, count in found.items() if count}

    @contextmanager
    def three_workers(self, directory: Path, writers: int) -> Iterator[None]:
        """Run two workers on the host, and one in a container that has a network and a file system of its own."""
        there = [*self.enter, *container(directory / "c", net=True), *network(CONTAINERS_ADDRESS)]
        with (
            hosted(directory / "a", "--grpc", "--pace=0.02", port=8001, writers=writers, prefix=self.enter),
            hosted(directory / "b", "--pace=0.02", port=8002, writers=1, prefix=self.enter),
            hosted(directory / "c", "--grpc", "--pace=0.02", port=8001, writers=writers, prefix=there),
        ):
            yield


def as_the_unit() -> list[str]:
    """Return a command line's beginning that runs the rest as node's unit does: a user that has two capabilities.

    Only root can do that; for others, the workers' user is as good.
    """
    unit = (ROOT / "systemd" / "smg-exporter-node.service").read_text("utf-8")
    (line,) = re.findall("^AmbientCapabilities=(.+)$", unit, re.MULTILINE)
    sets = ",".join(["-all", *(f"+{name.removeprefix('CAP_').lower()}" for name in line.split())])
    capabilities = [f"--{which}={sets}" for which in ("bounding-set", "inh-caps", "ambient-caps")]
    user = ["--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"]
    return [] if os.geteuid() else ["setpriv", *user, *capabilities]


@pytest.fixture(name="it")
def _it() -> Iterator[Machine]:
    """Give a host on which both exporters run."""
    with ExitStack() as stack:
        it = Machine(stack.enter_context(machine()))
        for user, words in ((as_the_unit(), ["node"]), ([], ["--grpc-port", "8001"])):
            process = subprocess.Popen([*it.enter, *user, sys.executable, "-m", "exporter", *words])
            stack.callback(process.wait, 10)
            stack.callback(process.terminate)
        yield it


def test_without_an_option_node_serves_all_and_a_port_one_through_restarts(
    it: Machine, tmp_path: Path
) -> None:
    for writers in (
        1,
        2,
    ):  # the second time, each has restarted, with a directory of its own as SGLang makes it
        directory = tmp_path / str(writers)
        directory.mkdir()
        with it.three_workers(directory, writers):
            for url, names in (
                (NODE, {HERE: writers, BESIDE: 1, THERE: writers}),
                (SINGLE, {HERE: writers}),
            ):
                eventually(lambda url=url, names=names: it.live(url) == names, f"{names} at {url}")  # type: ignore[misc]
                before, after = (it.by_worker(url, "answers_total") for _ in range(2))
                assert before.keys() == after.keys() == names.keys()
                assert all(after[name] > before[name] for name in names), "they are as of now"
        assert list(directory.glob("c/*")) == [], "the container's files were its own"
