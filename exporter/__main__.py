"""Entry point of `smg-exporter` and `python -m exporter`."""

import os
import signal
import sys
from types import FrameType
from typing import NoReturn


def main() -> int:
    """Run the command line; return the exit code."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end_at_once)
    from exporter.cli import main as run  # noqa: PLC0415 - after the handler, so that Ctrl-C during imports prints one line

    return run()


def _end_at_once(_signal: int, _frame: FrameType | None) -> NoReturn:
    """Exit at once: a KeyboardInterrupt in the middle of an import could surface as any other exception."""
    os.write(2, b"smg-exporter: interrupted\n")
    os._exit(130)


if __name__ == "__main__":
    sys.exit(main())
