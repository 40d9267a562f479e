"""Users by name and password (HTTP's basic authentication), checked against bcrypt hashes."""

import asyncio
import hmac
import json
import secrets
from collections.abc import Callable, Mapping
from functools import partial

from aiohttp import BasicAuth

from exporter.threads import in_thread

MAX_CHECKS = 16
"""Passwords being checked, or waiting for it; each takes some 70 ms of a processor."""
_MAX_REMEMBERED = 100
_MAX_PASSWORD = 72
"""Bytes of a password that bcrypt looks at, here as in Go; the bcrypt package refuses a longer one."""


class TooManyChecksError(Exception):
    """So many passwords wait to be checked that another one would wait too long."""


class Users:
    """The users of one file.

    A check takes as long for a name that is not there as for one that is. Right passwords are remembered, as a keyed
    hash, until the file changes, so that only a scraper's first request costs anything.
    """

    def __init__(self, hashes: Mapping[str, str]) -> None:
        """Take the bcrypt hash of each user; there is at least one."""
        import bcrypt  # noqa: PLC0415 - memory that only users are worth

        self._matches: Callable[[bytes, bytes], bool] = bcrypt.checkpw
        self._hashes = {name: text.encode() for name, text in hashes.items()}
        cost = max(text.split("$")[2] for text in hashes.values())
        self._nobodys_hash = f"$2b${cost}${'.' * 53}".encode()
        self._secret = secrets.token_bytes()
        self._remembered: dict[bytes, None] = {}
        self._slots = asyncio.Semaphore(MAX_CHECKS)
        self._turn = asyncio.Lock()

    async def admit(self, authorization: str | None) -> bool:
        """Say whether an Authorization header is a user's. May raise TooManyChecksError."""
        try:
            user = BasicAuth.decode(authorization or "", encoding="utf-8")
        except ValueError:
            return False
        password = user.password.encode()[:_MAX_PASSWORD]
        proof = self._proof(user.login, password)
        if proof in self._remembered:
            return True
        if self._slots.locked():
            raise TooManyChecksError
        # A client that goes away leaves its check running: it keeps its slot and its turn.
        return await asyncio.shield(self._check(user.login, password, proof))

    async def _check(self, name: str, password: bytes, proof: bytes) -> bool:
        async with self._slots, self._turn:
            if proof in self._remembered:  # one of several first requests of the same scraper
                return True
            password_hash = self._hashes.get(name, self._nobodys_hash)
            matches = await in_thread(partial(self._matches, password, password_hash))
            if not matches or name not in self._hashes:
                return False
            self._remember(proof)
            return True

    def _proof(self, name: str, password: bytes) -> bytes:
        return hmac.digest(self._secret, json.dumps([name, password.hex()]).encode(), "sha256")

    def _remember(self, proof: bytes) -> None:
        self._remembered[proof] = None
        if len(self._remembered) > _MAX_REMEMBERED:  # bcrypt takes some passwords in more than one spelling
            del self._remembered[next(iter(self._remembered))]
