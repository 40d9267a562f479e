"""The engine view over HTTP: what is asked for, and refusals."""

import aiohttp
import pytest

from tests.web.serving import Served, serving


async def ask(served: Served, query: str) -> tuple[int, str, str]:
    async with aiohttp.ClientSession() as client, client.get(f"{served.url}/engine.json{query}") as answer:
        return answer.status, answer.headers["Content-Type"], await answer.text()


async def test_the_answer_is_json() -> None:
    async with serving() as served:
        assert await ask(served, "") == (200, "application/json", '{"time":1.0,"workers":[]}\n')
        assert served.views.looks == [("", 0.0, False)]


async def test_the_query_chooses() -> None:
    async with serving() as served:
        await ask(served, "?worker=grpc://127.0.0.1:8001&since=1795519944.2&brief")
        assert served.views.looks == [("grpc://127.0.0.1:8001", 1795519944.2, True)]


async def test_an_unknown_worker_is_not_found() -> None:
    async with serving() as served:
        served.views.view = None
        status, _, text = await ask(served, "?worker=grpc://x:1")
        assert (status, text) == (404, "no worker 'grpc://x:1'; /engine.json without ?worker= lists all\n")


@pytest.mark.parametrize("since", ["yesterday", "nan", "inf", ""])
async def test_a_time_that_is_none_is_refused(since: str) -> None:
    async with serving() as served:
        status, _, text = await ask(served, f"?since={since}")
        assert (status, served.views.looks) == (400, [])
        assert text == f"since={since!r} is no time; it takes Unix seconds, such as 1795519944.2\n"


async def test_what_is_no_json_is_no_answer() -> None:
    async with serving() as served:
        served.views.view = {"time": float("nan"), "workers": []}
        status, _, text = await ask(served, "")
        assert status == 500
        assert "NaN" not in text
