"""The exporter without root's capabilities, so that permissions hinder it: `python -m soak.unprivileged OPTIONS`."""

import ctypes
import os
import sys

_PR_CAPBSET_DROP = 24
"""prctl: what a program started from now on cannot have."""

if __name__ == "__main__":
    for capability in range(64):  # more than there are
        ctypes.CDLL(None).prctl(_PR_CAPBSET_DROP, capability)  # fails where there is none to drop
    command = [sys.executable, "-m", "exporter", *sys.argv[1:]]
    os.execv(command[0], command)  # noqa: S606 - the pid has to stay
