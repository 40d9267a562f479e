"""A worker's exporter that looks and scrapes when told to."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from exporter.exposition.negotiation import Encoding, Escaping, Representation
from exporter.model import Format
from exporter.options.sources import load
from exporter.options.worker import ServeOptions
from exporter.worker.parts import Parts
from tests.support.expositions import Exposition

TEXT = Representation(Format.TEXT_0_0_4, Escaping.UNDERSCORES, Encoding.IDENTITY)


class Assembled:
    """An exporter that looks and scrapes when told to."""

    def __init__(self, directory: Path | None = None, **options: str | list[str] | bool) -> None:
        given: dict[str, str | list[str] | bool] = {
            "grpc_port": "8001",
            "liveness": "off",
        }
        if directory:
            given["multiproc_dir"] = str(directory)
        self.parts = Parts(load(ServeOptions, given | options))
        self.worker = self.parts.roster.workers[0]
        self.status = self.worker.status

    def look(self) -> None:
        asyncio.run(self.parts.roster.look_only())

    def scrape(self) -> Exposition:
        return Exposition(self.parts.scraper.bodies([TEXT])[TEXT].decode())

    def look_and_scrape(self) -> Exposition:
        self.look()
        return self.scrape()


Assemble = Callable[..., Assembled]


def errors(it: Assembled) -> dict[str, int]:
    """Return the reasons for which files and samples were left out, with their counts."""
    return {reason: count for reason, count in it.status().file_errors.items() if count}
