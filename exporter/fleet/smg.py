"""Targets from an SMG gateway, which lists its workers."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import aiohttp
from aiohttp import hdrs

from exporter.addresses import host_of
from exporter.fleet.sources import MAX_SIZE, SourceError
from exporter.fleet.targets import Target, TargetError, attempt, from_smg
from exporter.scraping.client import explain
from exporter.threads import in_thread

_TIMEOUT = 5.0


class SmgWorkers:
    """The workers of an SMG gateway."""

    def __init__(self, session: aiohttp.ClientSession, url: str, api_key_file: Path | None) -> None:
        """Ask `GET /workers` at `url`; the API key is read from its file each time, and sent nowhere else."""
        self._session = session
        self._url = f"{url.rstrip('/')}/workers"
        self._host = host_of(url)
        self._api_key_file = api_key_file

    async def read(self) -> Sequence[Target | TargetError]:
        """Return the targets of SMG's workers; raises SourceError if SMG gives no list of workers."""
        try:
            headers = await in_thread(self._headers)
            async with asyncio.timeout(_TIMEOUT):
                body = await self._get(headers)
            return await in_thread(partial(self._targets, body))
        except TimeoutError:
            raise SourceError(f"{self._url}: no answer within {_TIMEOUT:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError, RecursionError) as error:
            raise SourceError(f"{self._url}: {explain(error)}") from None

    def _targets(self, body: bytes) -> Sequence[Target | TargetError]:
        """Return the targets in an answer of SMG; raises SourceError, ValueError or RecursionError without one."""
        answer = json.loads(body)
        workers = answer.get("workers") if isinstance(answer, dict) else None
        if not isinstance(workers, list):
            raise SourceError(f"{self._url}: the answer has no list of workers")
        # Sorted, since SMG lists workers in no order, and the first one's type and help text of a family count.
        found = [attempt(partial(from_smg, worker, self._host)) for worker in workers]
        return sorted(found, key=_place)

    def _headers(self) -> Mapping[str, str]:
        headers: dict[str, str] = {hdrs.ACCEPT: "application/json", hdrs.ACCEPT_ENCODING: "identity"}
        if self._api_key_file is None:
            return headers
        try:
            key = self._api_key_file.read_text("utf-8").strip()
        except OSError as error:
            raise SourceError(f"{self._api_key_file}: {error.strerror}") from None
        return headers | {hdrs.AUTHORIZATION: f"Bearer {key}"}

    async def _get(self, headers: Mapping[str, str]) -> bytes:
        # Following a redirect could send the API key to another host.
        async with self._session.get(self._url, headers=headers, allow_redirects=False) as response:
            if response.status != 200:  # noqa: PLR2004 - HTTP's own number
                raise SourceError(f"{self._url}: answered {response.status}")
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > MAX_SIZE:
                    raise SourceError(f"{self._url}: the answer is larger than {MAX_SIZE >> 20} MiB")
        return bytes(body)


def _place(entry: Target | TargetError) -> tuple[str, str]:
    return (entry.metrics_url, entry.worker_addr) if isinstance(entry, Target) else ("", str(entry))
