"""Options of `fleet` and `check fleet`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

from exporter import addresses
from exporter.options.option import Problem, flag, missing, option
from exporter.options.shared import DefaultPort, StaticLabels, TargetTrust
from exporter.options.values import Bytes, File, Size, Url, Workers, decimal


@dataclass(frozen=True, kw_only=True)
class FleetOptions(StaticLabels, TargetTrust, DefaultPort):
    """Options of `fleet` and `check fleet`."""

    _PORT: ClassVar[int] = addresses.FLEET_PORT

    worker: Workers = option(
        "workers",
        "worker to scrape, with its metrics URL if that is not the default; repeatable",
        "URL[=METRICS]",
        default=(),
        shown="none",
    )
    workers_file: File | None = option(
        "workers",
        "workers to scrape, in Prometheus' file_sd format; re-read on change",
        "FILE",
        shown="none",
    )
    smg_url: Url | None = option("workers", "SMG gateway to ask for its workers", "URL", shown="none")
    smg_api_key_file: File | None = option(
        "workers", "file with the SMG gateway's API key, sent only to the gateway", "FILE", shown="none"
    )
    smg_refresh: Annotated[float, decimal(1, 3600)] = option(
        "workers", "interval between requests to the SMG gateway", "SECONDS", default=10.0
    )
    target_timeout: Annotated[float, decimal(0.1, 60)] = option(
        "limits", "time limit for scraping one worker", "SECONDS", default=5.0
    )
    max_target_bytes: Bytes = option(
        "limits", "refuse larger answers of a worker", "SIZE", default=Size(64 << 20)
    )

    def _problems(self) -> Iterator[Problem]:
        yield from super()._problems()
        if not (self.worker or self.workers_file or self.smg_url):
            yield missing("worker", instead=f"{flag('workers_file')}, or {flag('smg_url')}")
        if self.smg_api_key_file and not self.smg_url:
            yield "smg_api_key_file", f"is for a gateway, but there is no {flag('smg_url')}"
