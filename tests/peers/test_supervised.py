"""A worker behind a shell and a supervisor, which restarts it: it is found, named, and live all the same."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.node.running import Host, host
from tests.support import hosts
from tests.support.daemon import ROOT, free_port
from tests.support.expositions import Exposition
from tests.support.peers import program
from tests.support.waiting import eventually

pytestmark = pytest.mark.peer

WRITERS = 2
CONFIG = """
[supervisord]
nodaemon = true
logfile = /dev/null
logfile_maxbytes = 0
pidfile = {directory}/supervisord.pid
[inet_http_server]
port = 127.0.0.1:{control}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[program:worker]
command = sh -c "{python} {worker} --writers={writers} --directory={directory}/metrics --port={port} --grpc; exit"
environment = PYTHONPATH="{path}"
stopasgroup = true
"""


@dataclass(frozen=True)
class Supervised:
    """A host with node, a supervisor that runs a worker, and serve, which was told the worker's port."""

    host: Host
    served_on: int
    port: int
    """The worker's."""
    control: str
    """The supervisor's URL."""

    def restart(self) -> None:
        """Have the supervisor restart the worker."""
        command = [program("supervisorctl"), "--serverurl", self.control, "restart", "worker"]
        subprocess.run(command, check=True, capture_output=True)

    def answers(self) -> list[tuple[str, Exposition]]:
        """Return what node and serve answer, and the worker's name there."""
        return [
            (f"grpc://{name}:{self.port}", Exposition(self.host.get("/metrics", port)[1]))
            for name, port in (("gpu-1", 0), (socket.gethostname(), self.served_on))
        ]

    def counted(self, answers: float) -> bool:
        """Whether both have the worker under its name alone, live, and with so many answers counted."""
        return all(
            [sample.labels["worker_addr"] for sample in it.matching("answers_total")] == [name]
            and it.value("answers_total") == answers
            and it.value("smg_exporter_processes", state="live", worker_addr=name) == WRITERS
            for name, it in self.answers()
        )


@pytest.fixture(name="it")
def _it(tmp_path: Path) -> Iterator[Supervised]:
    port, control, served_on = free_port(), free_port(), free_port()
    config = tmp_path / "supervisord.conf"
    config.write_text(
        CONFIG.format(
            directory=tmp_path,
            control=control,
            python=sys.executable,
            worker=hosts.__file__,
            writers=WRITERS,
            port=port,
            path=ROOT,
        )
    )
    supervisor = [program("supervisord"), f"--configuration={config}"]
    serve = [sys.executable, "-m", "exporter", f"--grpc-port={port}", f"--listen-port={served_on}"]
    with host(beside=[supervisor, [*serve, "--listen-host=127.0.0.1"]]) as beside:
        yield Supervised(beside, served_on, port, f"http://127.0.0.1:{control}")


def test_a_worker_behind_a_shell_and_a_supervisor_is_found_and_so_is_the_next(it: Supervised) -> None:
    eventually(lambda: it.counted(WRITERS), "the worker is found")
    it.restart()
    eventually(lambda: it.counted(2 * WRITERS), "the next worker goes on in the same directory")
