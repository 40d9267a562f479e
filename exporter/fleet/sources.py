"""Where targets come from: options, a file_sd file, SMG. A source that fails keeps its previous targets."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import aiohttp
from aiohttp import hdrs

from exporter import strict_yaml
from exporter.addresses import host_of
from exporter.fleet.targets import Target, TargetError, distinct, from_file, from_smg
from exporter.fleet.vanished import Vanished, keep
from exporter.logs import fields
from exporter.scraping.client import explain
from exporter.threads import in_thread

FILE_INTERVAL = 1.0
"""Seconds between two reads of a workers file."""

_MAX_SIZE = 16 << 20
"""Most bytes of a workers file, or of SMG's answer; a larger one is refused."""
_SMG_TIMEOUT = 5.0
_LONGEST_REASON = 300
"""Most characters of the reason why an entry is skipped, since an entry may be of any length."""
_NAMED = 5
"""Most skipped entries, or vanished workers, that are told of by more than their number."""

_logger = logging.getLogger(__name__)


class SourceError(Exception):
    """A source that cannot be read; the message is one line."""


class TargetReader(Protocol):
    """Reads the entries of a source."""

    async def read(self) -> Iterable[Target | TargetError]:
        """Return the target of each entry, or why it has none; raises SourceError if the source cannot be read."""


class Source:
    """One source, with its targets as of the last successful refresh."""

    def __init__(
        self,
        name: str,
        reader: TargetReader,
        *,
        quiet: bool = False,
        is_down: Callable[[Target], bool] = lambda _: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Name the source in metrics and logs: `file`, `smg`. Unless `quiet`, refreshes that bring news are logged.

        `is_down` tells whether the last scrape of a target found no living worker.
        """
        self.name = name
        self.targets: tuple[Target, ...] = ()
        self.problem = f"{name}: not read yet"
        """Why the last refresh failed; empty if it succeeded."""
        self.skipped = 0
        """Number of entries without a target in the last successful refresh."""
        self.reasons: tuple[str, ...] = ()
        """Why the first few of these have none."""
        self.last_success: float | None = None
        """When the last successful refresh was, in Unix seconds."""
        self.vanished: Sequence[Vanished] = ()
        """Targets that were down when the source ceased to list them, and still are."""
        self._reader = reader
        self._quiet = quiet
        self._is_down = is_down
        self._clock = clock

    async def refresh(self) -> None:
        """Read the source again; a failure leaves the targets as they are, and is logged if it is a new one."""
        try:
            found = list(await self._reader.read())
        except SourceError as error:
            if self.problem != str(error) and not self._quiet:
                _logger.warning(
                    "refresh of targets failed; keeping the previous ones",
                    extra=fields(source=self.name, problem=error),
                )
            self.problem = str(error)
            self._keep_vanished(self.targets)
            return
        targets = tuple(entry for entry in found if isinstance(entry, Target))
        errors = [entry for entry in found if isinstance(entry, TargetError)]
        is_news = targets != self.targets or len(errors) != self.skipped or self.problem
        self._keep_vanished(targets)
        self.targets, self.skipped, self.problem = targets, len(errors), ""
        self.reasons = tuple(str(error)[:_LONGEST_REASON] for error in errors[:_NAMED])
        self.last_success = time.time()
        if is_news and not self._quiet:
            self._log()

    def _log(self) -> None:
        """Log how many targets there are, and why the first few entries without one are skipped."""
        _logger.info(
            "targets changed",
            extra=fields(source=self.name, targets=len(self.targets), skipped=self.skipped),
        )
        for reason in self.reasons:
            _logger.warning("target skipped", extra=fields(source=self.name, problem=reason))

    def _keep_vanished(self, listed: Sequence[Target]) -> None:
        """Decide which targets are kept though they are not `listed` now; log those that vanished just now."""
        known = {one.target for one in self.vanished}
        self.vanished = keep(self.vanished, self.targets, listed, self._is_down, self._clock())
        new = [one.target.worker_addr for one in self.vanished if one.target not in known]
        if new and not self._quiet:
            _logger.warning(
                "workers vanished from their source while down; kept as targets for ten minutes",
                extra=fields(source=self.name, count=len(new), workers=",".join(new[:_NAMED])),
            )

    async def run(self, wakeups: AsyncIterator[None]) -> None:
        """Refresh at each wake-up, until cancelled."""
        async for _ in wakeups:
            await self.refresh()


class Discovery:
    """The targets of all sources: the `fixed` ones of options, then each source's, then those that vanished while down.

    Of a worker, the first target counts.
    """

    def __init__(self, fixed: Sequence[Target], sources: Sequence[Source]) -> None:
        self.sources = tuple(sources)
        self._fixed = tuple(fixed)
        self._lists: tuple[tuple[Target, ...], ...] = ()
        self._targets: tuple[Target, ...] = ()

    @property
    def targets(self) -> tuple[Target, ...]:
        """The present targets, without duplicates."""
        lists = (*self._listed(), tuple(one.target for source in self.sources for one in source.vanished))
        if lists != self._lists:
            self._lists = lists
            self._targets = distinct(target for targets in lists for target in targets)
        return self._targets

    @property
    def listed(self) -> frozenset[str]:
        """Addresses of the workers that options and sources list now: all targets but the vanished ones."""
        return frozenset(target.worker_addr for targets in self._listed() for target in targets)

    def _listed(self) -> tuple[tuple[Target, ...], ...]:
        return self._fixed, *(source.targets for source in self.sources)

    @property
    def problem(self) -> str:
        """Why there is no target; empty if there is one."""
        if self.targets:
            return ""
        problems = [source.problem or f"{source.name}: names no worker" for source in self.sources]
        return f"no target: {'; '.join(problems)}"


async def every(seconds: float) -> AsyncIterator[None]:
    """Yield once per interval, first after one interval."""
    while True:
        await asyncio.sleep(seconds)
        yield


class WorkersFile:
    """A workers file, in the form of Prometheus' file_sd, JSON or YAML."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._content: bytes | None = None
        self._found: list[Target | TargetError] = []

    async def read(self) -> Iterable[Target | TargetError]:
        """Return the targets in the file; raises SourceError if it is missing or malformed."""
        return await in_thread(self._read)

    def _read(self) -> list[Target | TargetError]:
        try:
            with self._path.open("rb") as file:
                content = file.read(_MAX_SIZE + 1)
        except OSError as error:
            self._content = None
            raise SourceError(f"{self._path}: {error.strerror}") from None
        if content != self._content:
            self._found = self._parse(content)
            self._content = content
        return self._found

    def _parse(self, content: bytes) -> list[Target | TargetError]:
        if len(content) > _MAX_SIZE:
            raise SourceError(f"{self._path}: larger than {_MAX_SIZE >> 20} MiB")
        try:
            is_json = self._path.suffix == ".json"
            groups = json.loads(content, object_pairs_hook=_mapping) if is_json else strict_yaml.load(content)
        except (ValueError, RecursionError) as error:  # InvalidYAMLError is a ValueError
            reason = " ".join(str(error).split())
            raise SourceError(f"{self._path}: {reason}") from None
        if not isinstance(groups, list):
            raise SourceError(f"{self._path}: not a list of target groups")
        return [entry for group in groups for entry in self._group(group)]

    def _group(self, group: object) -> list[Target | TargetError]:
        if not isinstance(group, dict) or not isinstance(group.get("targets"), list):
            raise SourceError(f"{self._path}: a group has no list of targets")
        labels = group.get("labels") or {}
        if not isinstance(labels, dict):
            raise SourceError(f"{self._path}: the labels of a group are not a mapping")
        return [_attempt(partial(from_file, text, labels)) for text in group["targets"]]


def _mapping(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    """Return a JSON object's pairs as a mapping; ValueError if a name is given twice, as in YAML."""
    values: dict[str, object] = {}
    for name, value in pairs:
        if name in values:
            raise ValueError(f"{name!r} is given twice")
        values[name] = value
    return values


class SmgWorkers:
    """The workers of an SMG gateway."""

    def __init__(self, session: aiohttp.ClientSession, url: str, api_key_file: Path | None) -> None:
        """Ask `GET /workers` at `url`; the API key is read from its file each time, and sent nowhere else."""
        self._session = session
        self._url = f"{url.rstrip('/')}/workers"
        self._host = host_of(url)
        self._api_key_file = api_key_file

    async def read(self) -> Iterable[Target | TargetError]:
        """Return the targets of SMG's workers; raises SourceError if SMG gives no list of workers."""
        try:
            headers = await in_thread(self._headers)
            async with asyncio.timeout(_SMG_TIMEOUT):
                body = await self._get(headers)
            answer = await in_thread(lambda: json.loads(body))
        except TimeoutError:
            raise SourceError(f"{self._url}: no answer within {_SMG_TIMEOUT:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError, RecursionError) as error:
            raise SourceError(f"{self._url}: {explain(error)}") from None
        workers = answer.get("workers") if isinstance(answer, dict) else None
        if not isinstance(workers, list):
            raise SourceError(f"{self._url}: the answer has no list of workers")
        # Sorted, since SMG lists workers in no order, and the first one's type and help text of a family count.
        found = [_attempt(partial(from_smg, worker, self._host)) for worker in workers]
        return sorted(found, key=lambda entry: entry.metrics_url if isinstance(entry, Target) else "")

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
                if len(body) > _MAX_SIZE:
                    raise SourceError(f"{self._url}: the answer is larger than {_MAX_SIZE >> 20} MiB")
        return bytes(body)


def _attempt(make: Callable[[], Target]) -> Target | TargetError:
    try:
        return make()
    except TargetError as error:
        return error
