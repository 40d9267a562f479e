"""Entry point of `smg-exporter` and `python -m exporter`."""

import gc
import os
import signal
import sys
from types import FrameType
from typing import NoReturn


def main() -> int:
    """Run the command line; return the exit code."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end_at_once)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, _keep_running)
    gc.disable()  # until the command's code is loaded: imports make no garbage, and take a fifth longer with it
    from exporter.cli import main as run  # noqa: PLC0415 - after the handlers, which are for the time of imports

    return run()


def _end_at_once(_signal: int, _frame: FrameType | None) -> NoReturn:
    """Exit at once: a KeyboardInterrupt in the middle of an import could surface as any other exception."""
    os.write(2, b"smg-exporter: interrupted\n")
    os._exit(130)


def _keep_running(_signal: int, _frame: FrameType | None) -> None:
    """Do nothing: a daemon that is just starting reads everything anyway.

    It is not SIG_IGN, so that the command line can tell it from what `nohup` set, which stays.
    """


if __name__ == "__main__":
    sys.exit(main())
