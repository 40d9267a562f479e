"""Is this pid alive, and since when: what /proc says of a writer."""

import os
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

_KERNEL_THREAD = 0x00200000  # PF_KTHREAD of linux/sched.h
_ENDED = frozenset("ZXx")  # zombie or dead: nothing of it will write again


class Process(NamedTuple):
    """A process that exists now."""

    pid: str
    start_ticks: int
    """Clock ticks from boot to its start; with the pid, its identity."""
    started: float
    """Its start in Unix seconds, good to about a second."""


def all_pids(proc: str = "/proc") -> Iterable[str]:
    """Return the pids of all processes that can be seen."""
    return filter(str.isdigit, os.listdir(proc))  # noqa: PTH208 - a hundred names, each of them a string


def find_process(pid: str, proc: str = "/proc") -> Process | None:
    """Return the process of that pid, or None where none lives that could write files.

    PermissionError where one exists of which nothing may be known.
    """
    try:
        with open(f"{proc}/{pid}/stat", "rb") as file:  # noqa: PTH123 - pathlib costs more than the read
            text = file.read()
    except PermissionError:
        raise
    except OSError:
        if _may_be_signalled(pid) is False:  # /proc is mounted with hidepid, as by systemd's ProtectProc=
            raise PermissionError(f"process {pid} is hidden") from None
        return None
    # The name in parentheses may hold anything; what follows its last ")" are the fields from the third on.
    fields = text[text.rindex(b")") + 2 :].split()
    state, flags, start_ticks = fields[0].decode(), int(fields[6]), int(fields[19])
    if state in _ENDED or flags & _KERNEL_THREAD:
        return None
    return Process(pid, start_ticks, _boot_time(proc) + start_ticks / os.sysconf("SC_CLK_TCK"))


def exists(pid: str) -> bool:
    """Whether there is a process of that pid, be it a zombie or hidden; a quick no for most pids of old files."""
    return _may_be_signalled(pid) is not None


def _may_be_signalled(pid: str) -> bool | None:
    """Whether a process is one that we might send signals to: another user's is not; None where there is none."""
    try:
        os.kill(int(pid), 0)  # sends nothing
    except PermissionError:
        return False
    except (OSError, OverflowError):
        return None
    return True


def alone_in_pid_namespace() -> bool:
    """Whether no other container's process can be seen: as its first process we are in a namespace of our own."""
    return os.getpid() == 1


@cache
def _boot_time(proc: str) -> float:
    with open(f"{proc}/stat", encoding="ascii") as file:  # noqa: PTH123 - as above
        return next(float(line.split()[1]) for line in file if line.startswith("btime "))
