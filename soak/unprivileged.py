"""Runs the exporter without root's capabilities, so that permissions apply: `python -m soak.unprivileged OPTIONS`."""

import ctypes
import os
import sys

_PR_CAPBSET_DROP = 24
"""prctl: removes a capability from all programs that this process executes later."""

if __name__ == "__main__":
    for capability in range(64):  # more than exist
        ctypes.CDLL(None).prctl(_PR_CAPBSET_DROP, capability)  # fails for numbers without a capability
    command = [sys.executable, "-m", "exporter", *sys.argv[1:]]
    os.execv(command[0], command)  # noqa: S606 - exec keeps the pid
