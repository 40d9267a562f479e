"""The simulated workers' processes: started, watched, started anew after each story, and ended, together."""

import logging
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from exporter.demo.catalogue import Role
from exporter.demo.story import Story
from exporter.logs import fields

START_TIMEOUT = 60.0
"""Seconds for all processes to have written their files; 65 of them take a while on a small machine."""
STOP_TIMEOUT = 2.0
"""Seconds between SIGTERM and SIGKILL."""
WARM_UP = 30.0
"""Seconds of the story that are over at the start, so that the first scrape shows a server at work."""
PAUSE, SHORTEST_PAUSE = 10.0, 3.0
"""Seconds that a restart takes, at the usual speed and at least: a scraper should see it."""

logger = logging.getLogger(__name__)


class DemoError(Exception):
    """The simulated worker cannot start; its str is one line for the user."""


@dataclass(frozen=True)
class SimulatedProcess:
    """One process of the worker. `simulated_worker` signals and reaps it."""

    role: Role
    tp_rank: int | None
    """A scheduler's rank."""
    popen: "subprocess.Popen[str]"

    @property
    def pid(self) -> int:
        """The process id, also after the process ended."""
        return self.popen.pid

    @property
    def name(self) -> str:
        """The process's name for messages: `servicer`, `scheduler tp_rank=0`."""
        return str(self.role) if self.tp_rank is None else f"{self.role} tp_rank={self.tp_rank}"


@dataclass(frozen=True)
class Cast:
    """Who plays a worker, and how."""

    ranks: int
    """The number of schedulers; a servicer is beside them."""
    number: int = 0
    """The worker's number. The same number is the same server with the same traffic."""
    port: int = 0
    """The port that the servicer listens on; 0: any free one."""
    speed: float = 1.0
    """How many times as fast the acts of the story follow each other."""

    @property
    def story(self) -> Story:
        """What happens from a start to the next one."""
        return Story(speed=self.speed)


class SimulatedWorker:
    """A worker's processes, which a thread watches, and starts anew when their story has ended."""

    def __init__(self, directory: Path, cast: Cast) -> None:
        self.directory = directory
        self.processes: tuple[SimulatedProcess, ...] = ()
        """The schedulers by rank, then the servicer."""
        self._cast = cast
        self._started = 0.0
        self._stopping = threading.Event()
        self._wakeup, self._waker = os.pipe()
        self._thread = threading.Thread(target=self._live, name="demo-worker", daemon=True)

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes' ids."""
        return tuple(process.pid for process in self.processes)

    @property
    def story(self) -> Story:
        """What happens from a start to the next one."""
        return self._cast.story

    def start(self, skip: float) -> None:
        """Start all processes, `skip` seconds into their story. Raises DemoError when one cannot be started."""
        self._started = time.monotonic() - skip
        cast = self._cast
        told = {
            "--tp-size": cast.ranks,
            "--number": cast.number,
            "--speed": cast.speed,
            "--started": self._started,
        }
        schedulers: list[tuple[Role, int | None]] = [(Role.SCHEDULER, rank) for rank in range(cast.ranks)]
        for role, tp_rank in schedulers:
            self.processes += (_start(self.directory, role, tp_rank, told),)
        listens = ("--smg-grpc-mode", "--port", cast.port)  # as SGLang's command line says it
        self.processes += (_start(self.directory, Role.SERVICER, None, told, listens),)

    def await_ready(self) -> None:
        """Wait until every process has written its files. Raises DemoError when one does not."""
        _await_ready(self.processes, self._wakeup, deadline=time.monotonic() + START_TIMEOUT)

    def watch(self) -> None:
        """Have a thread watch the processes from now on."""
        self._thread.start()

    def stop(self) -> None:
        """End all processes, and what watches them."""
        self._stopping.set()
        os.close(self._waker)
        if self._thread.ident is not None:
            self._thread.join()
        self._end()
        os.close(self._wakeup)

    def _live(self) -> None:
        """Watch the processes, and start them anew when their story has ended; return at the stop."""
        pause = max(SHORTEST_PAUSE, PAUSE / self._cast.speed)
        while _watch(self.processes, self._wakeup, until=self._started + self.story.seconds):
            self._end()
            if self._stopping.wait(pause):
                return
            for file in self.directory.glob("*.db"):  # as the command that starts a real worker does
                file.unlink(missing_ok=True)
            try:
                self.start(skip=0.0)
                self.await_ready()
            except DemoError as error:
                if not self._stopping.is_set():
                    logger.error("simulated worker not restarted", extra=fields(error=error))  # noqa: TRY400 - one line
                return

    def _end(self) -> None:
        _stop(self.processes)
        _close_pipes(self.processes)
        self.processes = ()


@contextmanager
def simulated_workers(
    directories: Sequence[Path], ranks: int, speed: float = 1.0, ports: Sequence[int] = ()
) -> Iterator[list[SimulatedWorker]]:
    """Run a worker of `ranks` schedulers and a servicer in each directory, which must exist.

    Each servicer listens on the port of `ports` that belongs to its directory, on a free one if there are none;
    discovery knows it by that, and nobody answers there. Inside the block, every process has written its files. One
    that dies is reaped, logged and not replaced before its worker's restart; its files stay till then. After the block,
    all processes have ended. The n-th worker always has the same traffic; each is at another point of its story. Raises
    DemoError when a process fails to start.
    """
    with ExitStack() as stack:
        workers = []
        for number, directory in enumerate(directories):
            cast = Cast(ranks, number, ports[number] if ports else 0, speed)
            worker = SimulatedWorker(directory, cast)
            stack.callback(worker.stop)
            warm_up = WARM_UP / speed
            worker.start(warm_up + (cast.story.seconds - warm_up) * number / len(directories))
            workers.append(worker)
        for worker in workers:
            worker.await_ready()
        for worker in workers:
            worker.watch()
        yield workers


def _start(
    directory: Path,
    role: Role,
    tp_rank: int | None,
    options: Mapping[str, float],
    more: Sequence[object] = (),
) -> SimulatedProcess:
    rank = {} if tp_rank is None else {"--tp-rank": tp_rank}
    given = chain.from_iterable({"--role": role, **rank, **options}.items())
    words = [str(word) for word in (*given, *more)]
    environment = {
        **os.environ,
        "PROMETHEUS_MULTIPROC_DIR": str(directory),
        # The child imports from where this process does, and not from the current directory.
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PYTHONSAFEPATH": "1",
    }
    try:
        popen = subprocess.Popen(  # noqa: S603 - this interpreter and our own module
            [sys.executable, "-m", "exporter.demo.worker", *words],
            env=environment,
            stdin=subprocess.PIPE,  # held open: its end tells the child that this process is gone
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C reaches only this process, which then ends the others
        )
    except OSError as error:
        raise DemoError(f"cannot start a {role} with {sys.executable}: {error}") from error
    return SimulatedProcess(role, tp_rank, popen)


def _await_ready(processes: Sequence[SimulatedProcess], wakeup: int, deadline: float) -> None:
    """Wait until every process has said that it is ready, or `wakeup` can be read."""
    with _selector(processes, wakeup) as selector:
        while len(selector.get_map()) > 1:
            ready = selector.select(timeout=deadline - time.monotonic())
            if not ready:
                slow = next(key.data for key in selector.get_map().values() if key.data)
                raise DemoError(f"{slow.name} (pid {slow.pid}) was not ready within {START_TIMEOUT:.0f} s")
            for key, _ in ready:
                if key.data is None:
                    return
                if not os.read(key.fd, 64):
                    raise DemoError(_failure(key.data))
                selector.unregister(key.fileobj)


def _failure(process: SimulatedProcess) -> str:
    """Return how a process ended that has closed its stdout."""
    try:
        _, stderr = process.popen.communicate(timeout=STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        stderr = ""
    reason = _last_line(stderr) or "it wrote nothing to stderr"
    ending = _ending(process.popen.returncode)
    return f"{process.name} (pid {process.pid}) {ending} while starting: {reason}"


def _ending(code: int | None) -> str:
    if code is None:
        return "hung"
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"


def _watch(processes: Sequence[SimulatedProcess], wakeup: int, until: float) -> bool:
    """Reap and report each process as it ends, which closes its stdout; return whether it went on `until` a moment.

    It ends earlier when `wakeup` can be read.
    """
    with _selector(processes, wakeup) as selector:
        while (left := until - time.monotonic()) > 0:
            for key, _ in selector.select(timeout=left):
                if key.data is None:
                    return False
                if os.read(key.fd, 64):
                    continue  # an unbuffered `ready` comes in two pieces
                selector.unregister(key.fileobj)
                _report_death(key.data, key.data.popen.wait())
    return True


def _report_death(process: SimulatedProcess, code: int) -> None:
    event = {"process": process.name, "pid": process.pid, "ending": _ending(code)}
    if process.popen.stderr and (words := _last_line(process.popen.stderr.read())):
        event["stderr"] = words
    logger.warning("simulated process ended; its files stay", extra=fields(**event))


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2]


def _selector(processes: Sequence[SimulatedProcess], wakeup: int) -> selectors.BaseSelector:
    """Return a selector over the processes' stdouts, with the process as data, and `wakeup`, with None."""
    selector = selectors.DefaultSelector()
    selector.register(wakeup, selectors.EVENT_READ)
    for process in processes:
        if process.popen.stdout:
            selector.register(process.popen.stdout, selectors.EVENT_READ, process)
    return selector


def _stop(processes: Sequence[SimulatedProcess]) -> None:
    """End and reap every process: SIGTERM, then SIGKILL for those it does not end in time."""
    for process in processes:
        process.popen.terminate()
    deadline = time.monotonic() + STOP_TIMEOUT
    for process in processes:
        try:
            process.popen.wait(timeout=max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.popen.kill()
            process.popen.wait()


def _close_pipes(processes: Sequence[SimulatedProcess]) -> None:
    with ExitStack() as stack:
        for process in processes:
            for pipe in (process.popen.stdin, process.popen.stdout, process.popen.stderr):
                if pipe:
                    stack.callback(pipe.close)
