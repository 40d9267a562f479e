"""Helper processes: forked, so that they start fast, and if possible with a chosen pid."""

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
"""The last pid given in this pid namespace; writing it, if permitted, chooses the next pid."""
_TRIES = 20
"""Attempts to get a pid: another process may take it first."""
_NAMESPACE = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc")
_PR_SET_PDEATHSIG = 1
"""prctl: sets the signal that a process gets when its parent ends."""

Ts = TypeVarTuple("Ts")


def start(work: Callable[[*Ts], None], *args: *Ts) -> ForkProcess:
    """Start a process that runs `work`."""
    process = _FORK.Process(target=_work, args=(work, *args), daemon=True)
    process.start()
    return process


def kill(process: ForkProcess) -> None:
    """Kill a process with SIGKILL, as the OOM killer does."""
    process.kill()
    process.join()


@contextmanager
def beside(work: Callable[[*Ts], None], *args: *Ts) -> Iterator[ForkProcess]:
    """Run `work` in a process until the end of the block."""
    process = start(work, *args)
    try:
        yield process
    finally:
        kill(process)


def start_as(pid: int, work: Callable[[*Ts], None], *args: *Ts) -> ForkProcess | None:
    """Start a process with a chosen free pid; None if it cannot be had."""
    for _ in range(_TRIES):
        try:
            last = _LAST_PID.read_text()
            _LAST_PID.write_text(str(pid - 1))
            process = start(work, *args)
            _LAST_PID.write_text(last)  # so that other processes do not get the pids of dead writers
        except OSError:
            return None
        if process.pid == pid:
            return process
        kill(process)
    return None


def enter_namespace(command: Sequence[str]) -> None:
    """Run `command` in a new pid namespace in which pids can be chosen; return if that is needless or impossible."""
    with suppress(OSError):
        _LAST_PID.write_text(_LAST_PID.read_text())
        return
    trial = [*_NAMESPACE, "sh", "-c", f"echo 1 > {_LAST_PID}"]
    with suppress(OSError):
        if subprocess.run(trial, stderr=subprocess.DEVNULL, check=False).returncode == 0:
            os.execvp(_NAMESPACE[0], [*_NAMESPACE, *command])  # noqa: S606 - this program again


def _work(work: Callable[[*Ts], None], *args: *Ts) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # at Ctrl-C, the parent ends this process
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    work(*args)
