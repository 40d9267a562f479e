import asyncio
import socket
import threading
from typing import Any, NoReturn

import pytest

from exporter.scraping import resolver
from exporter.scraping.resolver import Resolver
from tests.support.targets import DEADLINE


async def test_it_finds_what_the_system_finds() -> None:
    expected = {
        (info[0], info[4][0]) for info in socket.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)
    }
    found = await Resolver().resolve("localhost", 80)
    assert {(one["family"], one["host"]) for one in found} == expected
    assert {(one["hostname"], one["port"]) for one in found} == {("localhost", 80)}
    (one,) = await Resolver().resolve("127.0.0.1", 80, socket.AF_INET)
    assert one["host"] == "127.0.0.1"


async def test_a_host_that_is_not_known_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> NoReturn:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr("exporter.scraping.resolver.socket.getaddrinfo", unknown)
    with pytest.raises(OSError, match="Name or service not known"):
        await Resolver().resolve("h.example", 80)


class Hanging:
    """Stands for the system's lookup: hosts that begin with "hang" are found when `release` is set."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.begun = 0

    def look_up(self, host: str, *_: object, **__: object) -> list[tuple[Any, ...]]:
        self.begun += 1
        if host.startswith("hang"):
            assert self.release.wait(DEADLINE)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.1", 80))]


async def test_hosts_that_hang_hold_up_no_other_and_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    hanging = Hanging()
    monkeypatch.setattr("exporter.scraping.resolver.socket.getaddrinfo", hanging.look_up)
    made = Resolver()
    some = [asyncio.create_task(made.resolve(f"hang{number}")) for number in range(resolver._LOOKUPS - 1)]
    assert (await asyncio.wait_for(made.resolve("well"), DEADLINE))[0]["host"] == "10.0.0.1"
    more = [asyncio.create_task(made.resolve(f"hang{number}")) for number in range(10)]
    while hanging.begun < resolver._LOOKUPS + 1:  # noqa: ASYNC110 - what threads do is polled
        await asyncio.sleep(0.01)
    hanging.release.set()
    found = await asyncio.wait_for(asyncio.gather(*some, *more), DEADLINE)
    assert len(found) == resolver._LOOKUPS + 9
