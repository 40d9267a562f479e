"""`smg-exporter check fleet`: say which workers would be scraped, and what stands in the way."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from exporter.fleet.parts import Fleet
from exporter.fleet.serve import endpoint
from exporter.fleet.status import FleetStatus
from exporter.options.fleet import FleetOptions
from exporter.paths import FLEET_METRICS
from exporter.printable import printable
from exporter.scraping.client import make_session, trusting
from exporter.service.checking import check_port, urls
from exporter.service.run import load_access

_PATIENCE = 6.0
"""Seconds for reading all sources. Each has a shorter limit."""


def check(options: FleetOptions) -> int:
    """Print what `fleet` would do with these options; exit code 1 if it could not serve all workers."""
    access = load_access(options.web_config)
    status = asyncio.run(_look(options))
    where = endpoint(options)
    can_listen, port = check_port(where, partial(_is_same, status), "this fleet")
    print(f"port        {where.port}, {where.rule}: {port}")
    for url in urls(where, access, FLEET_METRICS):
        print(f"url         {url}")
    for source in status.sources:
        found = f"{source.targets} targets, {source.skipped} entries skipped"
        print(f"source      {printable(source.problem) or f'{source.name}: {found}'}")
        for reason in source.reasons:
            print(f"            {printable(reason)}")
    print(f"targets     {len(status.targets)}")
    for target in status.targets:
        print(f"            {target.worker_addr} {target.metrics_url}")
    return 0 if can_listen and status.targets and not any(source.problem for source in status.sources) else 1


async def _look(options: FleetOptions) -> FleetStatus:
    """Read all sources once; return the status."""
    async with make_session(trusting(options.target_ca_file)) as session:
        fleet = Fleet(options, session, quiet=True)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE):
                    await fleet.look()
            return fleet.observer.status()
        finally:
            fleet.close()


def _is_same(status: FleetStatus, facts: Mapping[str, Any]) -> bool:
    """Whether `facts`, from `/status.json`, are of a fleet exporter of the same workers."""
    targets = facts.get("targets")
    return isinstance(targets, list) and [
        (target.get("worker_addr"), target.get("metrics_url"))
        for target in targets
        if isinstance(target, dict) and target.get("listed", True)
    ] == [(target.worker_addr, target.metrics_url) for target in status.targets]
