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
"""Most passwords being checked or waiting to be; a check takes about 70 ms of CPU time."""
_MAX_REMEMBERED = 100
_MAX_PASSWORD = 72
"""bcrypt uses only the first 72 bytes of a password; bcrypt 5.0 raises for longer ones."""


class TooManyChecksError(Exception):
    """MAX_CHECKS passwords are being checked or waiting already."""


class Users:
    """The users of one web configuration file.

    An unknown name takes as long to check as a known one, so timing does not reveal names. A correct password is
    remembered as a keyed hash until the file changes, so only a scraper's first request costs a bcrypt check.
    """

    def __init__(self, hashes: Mapping[str, str]) -> None:
        """`hashes` are bcrypt hashes by user name; at least one."""
        import bcrypt  # noqa: PLC0415 - takes memory; needed only if there are users

        self._matches: Callable[[bytes, bytes], bool] = bcrypt.checkpw
        self._hashes = {name: text.encode() for name, text in hashes.items()}
        cost = max(text.split("$")[2] for text in hashes.values())
        self._nobodys_hash = f"$2b${cost}${'.' * 53}".encode()
        self._secret = secrets.token_bytes()
        self._remembered: dict[bytes, None] = {}
        self._slots = asyncio.Semaphore(MAX_CHECKS)
        self._turn = asyncio.Lock()

    async def admit(self, authorization: str | None) -> bool:
        """Return whether an Authorization header names a user with the right password. May raise TooManyChecksError."""
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
        # Shielded: if the client goes away, its check runs on and keeps its slot.
        return await asyncio.shield(self._check(user.login, password, proof))

    async def _check(self, name: str, password: bytes, proof: bytes) -> bool:
        async with self._slots, self._turn:
            if proof in self._remembered:  # checked meanwhile for another request of the same user
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
        if len(self._remembered) > _MAX_REMEMBERED:  # bcrypt accepts some passwords in more than one form
            del self._remembered[next(iter(self._remembered))]
