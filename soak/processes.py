"""Processes of the soak's own: forked, so that they start at once, and where possible with a pid of choice."""

import ctypes
import multiprocessing
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import TypeVarTuple

_FORK = multiprocessing.get_context("fork")
_LAST_PID = Path("/proc/sys/kernel/ns_last_pid")
"""The pid given last in this pid namespace. Who may write it chooses the next."""
_TRIES = 20
"""How often to try for a pid; another process of the machine may come first."""
_NAMESPACE = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc")
_PR_SET_PDEATHSIG = 1
"""prctl: the signal that a process gets when its parent ends."""

Ts = TypeVarTuple("Ts")


def start(work: Callable[[*Ts], None], *args: *Ts) -> ForkProcess:
    """Start a process that does `work`, and then ends."""
    process = _FORK.Process(target=_work, args=(work, *args), daemon=True)
    process.start()
    return process


def kill(process: ForkProcess) -> None:
    """End a process as the kernel does when memory runs out."""
    process.kill()
    process.join()


@contextmanager
def beside(work: Callable[[*Ts], None], *args: *Ts) -> Iterator[ForkProcess]:
    """Have a process do `work` as long as the block lasts."""
    process = start(work, *args)
    try:
        yield process
    finally:
        kill(process)


def start_as(pid: int, work: Callable[[*Ts], None], *args: *Ts) -> ForkProcess | None:
    """Start a process under a pid that nobody has now; None where that cannot be had."""
    for _ in range(_TRIES):
        try:
            last = _LAST_PID.read_text()
            _LAST_PID.write_text(str(pid - 1))
            process = start(work, *args)
            _LAST_PID.write_text(last)  # so that strangers do not get the pids of the dead
        except OSError:
            return None
        if process.pid == pid:
            return process
        kill(process)
    return None


def enter_namespace(command: Sequence[str]) -> None:
    """Go on as `command` in a pid namespace where pids can be chosen, if that helps and is possible."""
    with suppress(OSError):
        _LAST_PID.write_text(_LAST_PID.read_text())
        return
    trial = [*_NAMESPACE, "sh", "-c", f"echo 1 > {_LAST_PID}"]
    with suppress(OSError):
        if subprocess.run(trial, stderr=subprocess.DEVNULL, check=False).returncode == 0:
            os.execvp(_NAMESPACE[0], [*_NAMESPACE, *command])  # noqa: S606 - this program again


def _work(work: Callable[[*Ts], None], *args: *Ts) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends this process
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    work(*args)
