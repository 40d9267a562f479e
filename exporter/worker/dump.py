"""`smg-exporter dump`: print one exposition and exit."""

import asyncio
import sys

from exporter.errors import ScrapeError
from exporter.exposition.negotiation import Encoding, Escaping, Representation
from exporter.model import Format
from exporter.options.worker import DumpOptions
from exporter.printable import printable
from exporter.worker.parts import Parts

_FORMATS = {"text": Format.TEXT_0_0_4, "openmetrics": Format.OPENMETRICS_1_0_0}


def dump(options: DumpOptions) -> int:
    """Print the answer to a scrape; exit code 1 if there is nothing to read."""
    parts = Parts(options, quiet=True)
    asyncio.run(parts.roster.look_only())
    wanted = Representation(_FORMATS[options.format], Escaping.UNDERSCORES, Encoding.IDENTITY)
    try:
        body = parts.scraper.bodies([wanted])[wanted]
    except ScrapeError as error:
        print(f"smg-exporter: error: {error}", file=sys.stderr)
        return 1
    sys.stdout.buffer.write(body)
    status = parts.status()
    for worker in status.workers:
        name = f"{status.name_of(worker)}: " if len(status.workers) > 1 else ""
        for file in worker.files:
            if file.reason:
                print(f"smg-exporter: {printable(name + file.name)} {file.reason}", file=sys.stderr)
    if status.problem:
        print(f"smg-exporter: error: {status.problem}", file=sys.stderr)
    return 1 if status.problem else 0
