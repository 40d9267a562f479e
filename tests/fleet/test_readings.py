import asyncio
import threading

import pytest

from exporter.fleet import readings
from exporter.fleet.readings import Readings
from exporter.fleet.targets import from_option
from exporter.scraping.client import Answer, TargetFailure
from exporter.scraping.reading import BadExpositionError, BodyReader, Reading
from tests.support.targets import DEADLINE

A, B = from_option("http://a"), from_option("http://b")
SMALL = b"a 1\n"
LARGE = b"".join(b"a%d 1\n" % number for number in range(100))


@pytest.fixture(name="made", autouse=True)
def _made(monkeypatch: pytest.MonkeyPatch) -> Readings:
    monkeypatch.setattr(readings, "_LARGE", len(LARGE))
    return Readings((("cluster", "c"),), 1 << 20)


def answer(body: bytes) -> Answer:
    return Answer([body], compressed=False)


async def test_small_and_large_bodies_are_read(made: Readings) -> None:
    small, large = await asyncio.gather(made.read(A, answer(SMALL)), made.read(B, answer(LARGE)))
    assert (small.layout.samples, large.layout.samples) == (1, 100)
    assert b'worker_addr="http://b"' in large.address


@pytest.mark.parametrize("body", [b"<html>\n", b"<html>\n" + b"nothing\n" * len(LARGE)])
async def test_what_is_no_exposition_is_an_error(made: Readings, body: bytes) -> None:
    with pytest.raises(BadExpositionError):
        await made.read(A, answer(body))
    with pytest.raises(TargetFailure):
        await made.read(A, Answer([body], compressed=True))


async def test_a_reading_that_is_given_up_helps_the_next_one(
    made: Readings, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    read, before = BodyReader.read, list[Reading | None]()

    def slowly(self: BodyReader, body: bytes, address: bytes, last: Reading | None) -> Reading:
        begun.set()
        assert go_on.wait(DEADLINE)
        before.append(last)
        return read(self, body, address, last)

    monkeypatch.setattr(BodyReader, "read", slowly)
    given_up = asyncio.create_task(made.read(A, answer(LARGE)))
    while not begun.is_set():  # noqa: ASYNC110 - what a thread does is polled
        await asyncio.sleep(0.01)
    given_up.cancel()
    go_on.set()
    reading = await asyncio.wait_for(made.read(A, answer(LARGE)), DEADLINE)
    first, last = before
    assert first is None
    assert last is not None
    assert last.layout is reading.layout


async def test_what_is_forgotten_is_read_anew(made: Readings) -> None:
    async def read_both() -> list[Reading]:
        return [await made.read(target, answer(SMALL)) for target in (A, B)]

    await read_both()
    assert made._last.keys() == {A.metrics_url, B.metrics_url}
    made.forget_others({A.metrics_url})
    assert made._last.keys() == {A.metrics_url}
    await read_both()
    made.forget([A.metrics_url, "http://unknown"])
    assert made._last.keys() == {B.metrics_url}
