"""`smg-exporter dump`: print one exposition and exit."""

import asyncio
import sys

from exporter.errors import ScrapeError
from exporter.exposition.negotiation import Encoding, Escaping, Representation
from exporter.model import Format
from exporter.options import DumpOptions
from exporter.printable import printable
from exporter.worker.parts import Worker

_FORMATS = {"text": Format.TEXT_0_0_4, "openmetrics": Format.OPENMETRICS_1_0_0}


def dump(options: DumpOptions) -> int:
    """Print the answer to a scrape; exit code 1 if there is nothing to read."""
    worker = Worker(options, quiet=True)
    asyncio.run(worker.watcher.look())
    wanted = Representation(_FORMATS[options.format], Escaping.UNDERSCORES, Encoding.IDENTITY)
    try:
        body = worker.scraper.bodies([wanted])[wanted]
    except ScrapeError as error:
        print(f"smg-exporter: error: {error}", file=sys.stderr)
        return 1
    sys.stdout.buffer.write(body)
    status = worker.status()
    for file in status.files:
        if file.reason:
            print(f"smg-exporter: {printable(file.name)} {file.reason}", file=sys.stderr)
    if not status.ready:
        print(f"smg-exporter: error: {status.problem}", file=sys.stderr)
    return 0 if status.ready else 1
