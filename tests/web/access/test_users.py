"""Real basic authentication: who gets in, what a check costs, and headers on all answers."""

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import aiohttp
import bcrypt
import pytest
from blockbuster import blockbuster_ctx

from exporter.web.access.access import Access
from exporter.web.access.users import MAX_CHECKS, Users
from tests.support.waiting import eventually
from tests.web.serving import DEADLINE, Served, connected, serving
from tests.web.test_app import PATHS

PASSWORD = "correct horse: battery ünd stäple"  # noqa: S105 - of this test's own users
COST = 5


def password_hash(password: str, cost: int = COST) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode()


def write(directory: Path, more: str = "", **users: str) -> Path:
    """Write the file, with these users' passwords hashed."""
    file = directory / "web.yml"
    hashes = {name: password_hash(password) for name, password in users.items()}
    file.write_text(f"basic_auth_users: {json.dumps(hashes)}\n{more}")
    return file


def authorization(user: str, password: str) -> dict[str, str]:
    return {"Authorization": aiohttp.encode_basic_auth(user, password, encoding="utf-8")}


async def status(
    served: Served, user: str = "", password: str = "", path: str = "/healthz", method: str = "GET"
) -> int:
    """Return the code that a request of this user gets, or one of nobody."""
    async with aiohttp.ClientSession() as client, asyncio.timeout(DEADLINE):
        headers = authorization(user, password) if user else {}
        async with client.request(method, served.url + path, headers=headers) as answer:
            return answer.status


async def until(condition: Callable[[], bool]) -> None:
    await asyncio.to_thread(eventually, condition, "the checks have come so far")


class Checks:
    """Counts the checks of an Access, and holds them where `gate` is closed."""

    def __init__(self, access: Access) -> None:
        assert access._loaded.users
        self.users = access._loaded.users
        self.seen: list[tuple[bytes, bytes]] = []
        self.gate = threading.Event()
        self.gate.set()
        self._matches = self.users._matches
        self.users._matches = self._check

    def _check(self, password: bytes, hashed: bytes) -> bool:
        self.seen.append((password, hashed))
        assert self.gate.wait(DEADLINE)
        return self._matches(password, hashed)

    async def under_way(self, count: int = 1) -> None:
        """Wait for so many checks to have begun."""
        await until(lambda: len(self.seen) >= count)


# --- Getting in ---


@pytest.mark.parametrize("path", [*PATHS, "/nowhere"])
async def test_every_path_is_for_users_only(tmp_path: Path, path: str) -> None:
    async with serving(access=Access(write(tmp_path, alice=PASSWORD))) as served:
        async with aiohttp.ClientSession() as client, client.get(served.url + path) as refused:
            assert refused.status == 401
            assert refused.headers["WWW-Authenticate"] == 'Basic realm="smg-exporter", charset="UTF-8"'
            assert await refused.text() == "a user name and password are required\n"
        for method in ("HEAD", "POST"):
            assert await status(served, path=path, method=method) == 401
        assert await status(served, "alice", PASSWORD, path) == (404 if path == "/nowhere" else 200)
        assert served.codes.empty() == (path != "/metrics")


@pytest.mark.parametrize(
    ("user", "password"),
    [("alice", "wrong"), ("alice", ""), ("bob", PASSWORD), ("Alice", PASSWORD), ("alice", PASSWORD + "x")],
)
async def test_others_are_not_let_in(tmp_path: Path, user: str, password: str) -> None:
    async with serving(access=Access(write(tmp_path, alice=PASSWORD))) as served:
        assert await status(served, user, password) == 401
        assert await status(served, "alice", PASSWORD) == 200
        assert await status(served, user, password) == 401


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Basic",
        "Basic ",
        "Basic !!!",
        "Basic YWxpY2U=",
        "Bearer YWxpY2U6eA==",
        "Basic /////w==",
        "x" * 5000,
    ],
)
async def test_a_malformed_header_is_nobodys(tmp_path: Path, header: str) -> None:
    async with (
        serving(access=Access(write(tmp_path, alice=PASSWORD))) as served,
        aiohttp.ClientSession() as client,
        client.get(served.url, headers={"Authorization": header}) as answer,
    ):
        assert answer.status == 401


async def test_a_password_counts_as_far_as_bcrypt_looks(tmp_path: Path) -> None:
    file = tmp_path / "web.yml"
    file.write_text(f"basic_auth_users: {{alice: {password_hash('x' * 72)}}}")
    async with serving(access=Access(file)) as served:
        assert await status(served, "alice", "x" * 71) == 401
        assert await status(served, "alice", "x" * 72) == 200
        assert await status(served, "alice", "x" * 100) == 200


# --- What a check costs ---


async def test_a_right_password_is_checked_once(tmp_path: Path) -> None:
    access = Access(write(tmp_path, alice=PASSWORD, bob="b"))
    checks = Checks(access)
    async with serving(access=access) as served:
        for _ in range(3):
            assert await status(served, "alice", PASSWORD) == 200
            assert await status(served, "bob", "b") == 200
        assert len(checks.seen) == 2
        for _ in range(3):
            assert await status(served, "alice", "wrong") == 401
        assert len(checks.seen) == 5
    assert not any(PASSWORD.encode() in proof or b"alice" in proof for proof in checks.users._remembered)


async def test_an_unknown_user_costs_what_a_known_one_does(tmp_path: Path) -> None:
    file = tmp_path / "web.yml"
    file.write_text(
        f"basic_auth_users: {{cheap: {password_hash('a', 4)}, dear: {password_hash('b', 6).replace('2b', '2y')}}}"
    )
    access = Access(file)
    checks = Checks(access)
    async with serving(access=access) as served:
        assert await status(served, "nobody", "a") == 401
        ((password, hashed),) = checks.seen
        assert (password, hashed[:7]) == (b"a", b"$2b$06$")
        assert not bcrypt.checkpw(b"a", hashed)


async def test_no_password_makes_an_unknown_user_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = Access(write(tmp_path, alice=PASSWORD))
    monkeypatch.setattr(access._loaded.users, "_matches", lambda *_: True)
    async with serving(access=access) as served:
        assert await status(served, "nobody", "a") == 401
        assert await status(served, "nobody", "a") == 401


async def test_first_requests_at_the_same_time_share_a_check(tmp_path: Path) -> None:
    access = Access(write(tmp_path, alice=PASSWORD))
    checks = Checks(access)
    async with serving(access=access) as served:
        codes = await asyncio.gather(*(status(served, "alice", PASSWORD) for _ in range(5)))
    assert codes == [200] * 5
    assert len(checks.seen) == 1


async def test_a_check_holds_up_neither_the_loop_nor_who_is_known(tmp_path: Path) -> None:
    access = Access(write(tmp_path, alice=PASSWORD))
    checks = Checks(access)
    async with serving(access=access) as served:
        with blockbuster_ctx():
            assert await status(served, "alice", PASSWORD) == 200
            checks.gate.clear()
            slow = asyncio.create_task(status(served, "mallory", "guess"))
            await checks.under_way(2)
            assert await status(served, "alice", PASSWORD, "/metrics") == 200
            assert not slow.done()
            checks.gate.set()
            assert await slow == 401


async def test_one_password_is_checked_at_a_time_and_not_too_many_wait(tmp_path: Path) -> None:
    access = Access(write(tmp_path, alice=PASSWORD))
    checks = Checks(access)
    async with serving(access=access) as served:
        assert await status(served, "alice", PASSWORD) == 200
        checks.gate.clear()
        guesses = [asyncio.create_task(status(served, "mallory", f"{n}")) for n in range(MAX_CHECKS)]
        await until(checks.users._slots.locked)
        assert len(checks.seen) == 2
        assert await status(served, "mallory", "one more") == 503
        assert await status(served, "alice", PASSWORD) == 200, "who is known waits for nobody"
        checks.gate.set()
        assert await asyncio.gather(*guesses) == [401] * MAX_CHECKS


async def test_a_client_that_goes_away_gains_no_second_check(tmp_path: Path) -> None:
    access = Access(write(tmp_path, alice=PASSWORD))
    checks = Checks(access)
    async with serving(access=access) as served:
        checks.gate.clear()
        gone = asyncio.create_task(status(served, "mallory", "1"))
        await checks.under_way()
        gone.cancel()
        waits = asyncio.create_task(status(served, "alice", PASSWORD))
        await until(lambda: checks.users._slots._value == MAX_CHECKS - 2)
        assert len(checks.seen) == 1
        checks.gate.set()
        assert await waits == 200


async def test_what_is_remembered_is_bounded() -> None:
    users = Users({"alice": password_hash("x", 4)})
    users._matches = lambda *_: True
    for number in range(150):
        assert await users.admit(authorization("alice", str(number))["Authorization"])
    assert len(users._remembered) == 100


# --- Files that change ---


async def test_users_change_on_standing_connections(tmp_path: Path) -> None:
    access = Access(write(tmp_path, alice=PASSWORD))
    async with serving(access=access) as served, connected(served) as connection:

        async def ask(user: str, password: str) -> int:
            ((name, value),) = authorization(user, password).items()
            answer = await connection.get(headers=f"{name}: {value}\r\n".encode())
            return int(answer.split()[1])

        assert await ask("alice", PASSWORD) == 200
        write(tmp_path, alice="new", bob="b")
        await access.refresh()
        assert await ask("alice", PASSWORD) == 401
        assert await ask("alice", "new") == 200
        assert await ask("bob", "b") == 200
        (tmp_path / "web.yml").write_text("basic_auth_users: {alice: new}")
        await access.refresh()
        assert await ask("alice", "new") == 200, "a password that is no hash is not taken up"
        (tmp_path / "web.yml").write_text("")
        await access.refresh()
        assert await ask("nobody", "") == 200


# --- Headers ---


async def test_headers_are_on_every_answer_and_win(tmp_path: Path) -> None:
    headers = {"X-Frame-Options": "deny", "Content-Security-Policy": "default-src 'self'"}
    more = f"http_server_config: {json.dumps({'headers': headers})}"
    access = Access(write(tmp_path, more, alice=PASSWORD))
    async with serving(access=access) as served, aiohttp.ClientSession() as client:
        for path in (*PATHS, "/nowhere"):
            for given in ({}, authorization("alice", PASSWORD)):
                async with client.get(served.url + path, headers=given) as answer:
                    assert answer.headers.items() >= headers.items()
                    assert answer.headers["X-Content-Type-Options"] == "nosniff"


# --- Memory ---

IMPORTS = """
import sys
from pathlib import Path
import exporter.worker.serve
print(sys.modules.keys() & {"yaml", "bcrypt", "exporter.web.access"})
from exporter.web.access.access import Access
Access(Path(sys.argv[1]))
print(sys.modules.keys() & {"bcrypt"})
"""


def test_only_what_is_used_is_imported(tmp_path: Path) -> None:
    file = tmp_path / "web.yml"
    file.write_text("http_server_config: {http2: false}")
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", IMPORTS, str(file)]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert result.stdout == "set()\nset()\n"
