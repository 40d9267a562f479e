"""Whether the process of a pid lives, and since when, according to /proc."""

import os
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

_KERNEL_THREAD = 0x00200000  # PF_KTHREAD of linux/sched.h
_ENDED = frozenset("ZXx")  # zombie or dead: such a process writes no more


class Process(NamedTuple):
    """A process that exists now."""

    pid: str
    start_ticks: int
    """Clock ticks from boot to the start of the process: together with the pid, they identify the process."""
    started: float
    """The start of the process in Unix seconds, exact to about a second."""


def all_pids(proc: str = "/proc") -> Iterable[str]:
    """Return the pids of all processes that can be seen."""
    return filter(str.isdigit, os.listdir(proc))  # noqa: PTH208 - a hundred names, each of them a string


def is_seen(pid: str, proc: str = "/proc") -> bool:
    """Whether `all_pids` has that pid."""
    return pid.isascii() and pid.isdigit() and os.access(f"{proc}/{pid}", os.F_OK)


def find_process(pid: str, proc: str = "/proc") -> Process | None:
    """Return the process of that pid; None if there is none, or only a zombie or a kernel thread.

    Raises PermissionError if the process exists, but may not be looked into.
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
    """Whether any process has that pid, be it a zombie or hidden; cheap, as most pids of old files are nobody's."""
    return _may_be_signalled(pid) is not None


def _may_be_signalled(pid: str) -> bool | None:
    """Whether we may signal the process of that pid: not if it is another user's; None if there is no process."""
    try:
        os.kill(int(pid), 0)  # sends nothing
    except PermissionError:
        return False
    except (OSError, OverflowError):
        return None
    return True


def alone_in_pid_namespace() -> bool:
    """Whether we are the first process of our pid namespace: then processes of other containers cannot be seen."""
    return os.getpid() == 1


@cache
def _boot_time(proc: str) -> float:
    with open(f"{proc}/stat", encoding="ascii") as file:  # noqa: PTH123 - as above
        return next(float(line.split()[1]) for line in file if line.startswith("btime "))
