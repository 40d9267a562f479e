"""Applies a web configuration file to connections and requests, and reloads it when it changes."""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import hdrs, web

from exporter.logs import fields
from exporter.threads import in_thread
from exporter.web.access.tls import make_context
from exporter.web.access.users import TooManyChecksError, Users
from exporter.web.access.webconfig import WebConfig, WebConfigError, read
from exporter.web.answers import line

_INTERVAL = 1.0
"""Seconds between two checks for changed files."""
_CHALLENGE: dict[str, str] = {hdrs.WWW_AUTHENTICATE: 'Basic realm="smg-exporter", charset="UTF-8"'}

_logger = logging.getLogger(__name__)

Stamp = tuple[int, ...] | None
"""Identifies a version of a file: inode, size and times; None if the file cannot be found."""


@dataclass(frozen=True)
class _Loaded:
    """A web configuration, with the TLS context and users made of it."""

    config: WebConfig
    context: ssl.SSLContext | None
    users: Users | None


class _CurrentContext(ssl.SSLContext):
    """Delegates each new connection to the context that was loaded last; has no certificate of its own."""

    current: ssl.SSLContext

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        return self.current.wrap_bio(*args, **kwargs)


class Access:
    """TLS, users and headers of one file, which may change; `watch` follows it.

    A change applies to new connections and new requests. Open connections stay: their next requests are checked
    against the new users, but not against a new client CA. Turning TLS on or off takes a restart.
    """

    def __init__(self, file: Path) -> None:
        """Read the file and the files that it names; WebConfigError if one cannot be used."""
        self.tls: ssl.SSLContext | None = None
        """The context to serve with; None for plain HTTP."""
        self._file = file
        self._stamps: dict[Path, Stamp] = {}
        self._loaded = self._load()
        if self._loaded.context:
            self.tls = _CurrentContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.current = self._loaded.context

    def protect(self, app: web.Application) -> None:
        """Check every request to the application, and add the configured headers to every answer."""
        app.middlewares.append(self._checker())
        app.on_response_prepare.append(self._add_headers)

    async def watch(self) -> None:
        """Reload changed files, until cancelled."""
        while True:
            await asyncio.sleep(_INTERVAL)
            await self.refresh()

    async def refresh(self) -> None:
        """Reload if a file has changed. If one cannot be used, log why, and keep the previous configuration."""
        try:
            loaded = await in_thread(self._load_changes)
        except WebConfigError as error:
            _logger.warning(
                "web configuration reload failed; keeping the previous one", extra=fields(problem=error)
            )
            return
        if loaded is None:
            return
        if loaded.context and isinstance(self.tls, _CurrentContext):
            self.tls.current = loaded.context
        self._loaded = loaded
        _logger.info("web configuration reloaded", extra=fields(file=self._file))

    def _load_changes(self) -> _Loaded | None:
        """Load all files if one of them has changed, else return None. Blocks."""
        if all(_stamp(file) == stamp for file, stamp in self._stamps.items()):
            return None
        loaded = self._load()
        if (loaded.context is None) != (self.tls is None):
            turned = "off" if self.tls else "on"
            raise WebConfigError(
                f"{self._file}: tls_server_config: TLS can be turned {turned} by a restart only"
            )
        return loaded

    def _load(self) -> _Loaded:
        # Stamps are taken before the files are read: a change in between is found at the next check.
        self._stamps = stamps = {self._file: _stamp(self._file)}
        config = read(self._file)
        self._stamps = stamps | {file: _stamp(file) for file in config.files}
        tls = config.tls_server_config
        users = config.basic_auth_users
        try:
            return _Loaded(config, make_context(tls) if tls else None, Users(users) if users else None)
        except WebConfigError as error:
            raise WebConfigError(f"{self._file}: {error}") from None

    def _checker(self) -> Callable[..., Awaitable[web.StreamResponse]]:
        @web.middleware
        async def check(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            users = self._loaded.users
            try:
                admitted = users is None or await users.admit(request.headers.get(hdrs.AUTHORIZATION))
            except TooManyChecksError:
                return line(503, "too many passwords are being checked; try again", {hdrs.RETRY_AFTER: "1"})
            if not admitted:
                return line(401, "a user name and password are required", _CHALLENGE)
            return await handler(request)

        return check

    async def _add_headers(self, _request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(self._loaded.config.http_server_config.headers)


def _stamp(file: Path) -> Stamp:
    try:
        info = file.stat()
    except OSError:
        return None
    return info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns
