"""Where the program starts: `smg-exporter`, or `python -m exporter`."""

import os
import signal
import sys
from types import FrameType
from typing import NoReturn


def main() -> int:
    """Run the command line; return the exit code."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end_at_once)
    from exporter.cli import main as run  # noqa: PLC0415 - by now Ctrl-C ends in one line

    return run()


def _end_at_once(_signal: int, _frame: FrameType | None) -> NoReturn:
    """End while there are only imports, of which an exception in their midst would come out as anything."""
    os.write(2, b"smg-exporter: interrupted\n")
    os._exit(130)


if __name__ == "__main__":
    sys.exit(main())
