"""Is this pid alive, and since when: what /proc says of a writer."""

import os
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


def find_process(pid: str, proc: str = "/proc") -> Process | None:
    """Return the process of that pid, or None where none lives that could write files."""
    if not os.access(f"{proc}/{pid}", os.F_OK):  # most pids of old files are nobody's, and this is a quick no
        return None
    try:
        with open(f"{proc}/{pid}/stat", "rb") as file:  # noqa: PTH123 - pathlib costs more than the read
            text = file.read()
    except OSError:
        return None
    # The name in parentheses may hold anything; what follows its last ")" are the fields from the third on.
    fields = text[text.rindex(b")") + 2 :].split()
    state, flags, start_ticks = fields[0].decode(), int(fields[6]), int(fields[19])
    if state in _ENDED or flags & _KERNEL_THREAD:
        return None
    return Process(pid, start_ticks, _boot_time(proc) + start_ticks / os.sysconf("SC_CLK_TCK"))


def alone_in_pid_namespace() -> bool:
    """Whether no other container's process can be seen: as its first process we are in a namespace of our own."""
    return os.getpid() == 1


@cache
def _boot_time(proc: str) -> float:
    with open(f"{proc}/stat", encoding="ascii") as file:  # noqa: PTH123 - as above
        return next(float(line.split()[1]) for line in file if line.startswith("btime "))
