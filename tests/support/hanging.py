"""The exporter on a disk that hangs: `python -m tests.support.hanging read|look OPTIONS`."""

import sys
import threading
from typing import NoReturn
from unittest.mock import patch

from exporter import cli

PLACES = {
    "read": "exporter.multiproc.engine.Engine.update",
    "look": "exporter.multiproc.listing.list_directory",
}


def hang(*_: object) -> NoReturn:
    """Wait for what never comes, as a system call of a dead network file system does."""
    while True:
        threading.Event().wait()


if __name__ == "__main__":
    with patch(PLACES[sys.argv[1]], hang):
        sys.exit(cli.main(sys.argv[2:]))
