"""Targets from SMG; a gateway that is away takes none away."""

import json
import ssl
from pathlib import Path

import pytest

from exporter.fleet.smg import SmgWorkers
from exporter.fleet.sources import Source
from exporter.scraping.client import make_session
from tests.fleet.sourced import workers
from tests.support.targets import Behaviour, answer, hang, reset, serving

SMG = json.dumps(
    {"workers": [{"url": "grpc://a:1", "model_id": "m"}, {"url": "zmq://b"}], "total": 2}
).encode()


def smg_answer(body: bytes = SMG, status: str = "200 OK", more: str = "") -> Behaviour:
    return answer(body, status, "application/json", more)


async def read_smg(behave: Behaviour, key_file: Path | None = None) -> tuple[Source, list[bytes]]:
    async with make_session(ssl.create_default_context()) as session, serving(behave) as server:
        source = Source("smg", SmgWorkers(session, f"{server.worker}/", key_file))
        await source.refresh()
        return source, server.requests


async def test_smg_is_asked_for_its_workers() -> None:
    source, (request,) = await read_smg(smg_answer())
    assert workers(source) == ["grpc://a:1"]
    assert source.skipped == 1
    assert source.targets[0].labels == {"model_id": "m"}
    assert request.startswith(b"GET /workers HTTP/1.1\r\n")
    assert b"authorization" not in request.lower()


async def test_the_order_of_smgs_workers_makes_no_difference() -> None:
    urls = ["grpc://c:1", "grpc://a:1", "grpc://b:1"]
    body = json.dumps({"workers": [{"url": url} for url in urls]}).encode()
    source, _ = await read_smg(smg_answer(body))
    assert workers(source) == sorted(urls)


async def test_of_workers_with_one_metrics_url_the_same_is_skipped_each_time() -> None:
    same = [{"url": f"grpc://h:{port}", "labels": {"metrics_port": "9400"}} for port in (8001, 8002)]
    for listed in (same, same[::-1]):
        source, _ = await read_smg(smg_answer(json.dumps({"workers": listed}).encode()))
        assert workers(source) == ["grpc://h:8001"]
        assert source.reasons == (
            "'grpc://h:8002' has the metrics URL of grpc://h:8001, http://h:9400/metrics",
        )


async def test_smg_gets_the_key_that_is_in_the_file_now(tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    key_file.write_text("one\n")
    async with make_session(ssl.create_default_context()) as session, serving(smg_answer()) as server:
        source = Source("smg", SmgWorkers(session, server.worker, key_file))
        await source.refresh()
        key_file.write_text("two")
        await source.refresh()
    keys = [line for request in server.requests for line in request.split(b"\r\n") if b"Bearer" in line]
    assert keys == [b"Authorization: Bearer one", b"Authorization: Bearer two"]


async def test_a_key_file_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    source, requests = await read_smg(smg_answer(), tmp_path / "none")
    assert source.problem == f"{tmp_path / 'none'}: No such file or directory"
    assert requests == []


async def test_what_failed_is_said_in_words_of_ours() -> None:
    async with make_session(ssl.create_default_context()) as session:
        source = Source("smg", SmgWorkers(session, "http://127.0.0.1:1", None))
        await source.refresh()
    assert source.problem == "http://127.0.0.1:1/workers: cannot connect: Connection refused"


async def test_a_redirect_does_not_take_the_key_elsewhere(tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    key_file.write_text("secret")
    async with serving(smg_answer()) as other:
        away = smg_answer(b"", "307 Temporary Redirect", f"Location: {other.worker}/workers\r\n")
        source, _ = await read_smg(away, key_file)
        assert source.problem.endswith("/workers: answered 307")
        assert other.requests == []


BAD_SMG: dict[str, Behaviour] = {
    "401": smg_answer(status="401 Unauthorized"),
    "no JSON": smg_answer(b"<html>"),
    "no list": smg_answer(b'{"workers": {}}'),
    "no object": smg_answer(b"[]"),
    "reset": reset,
    "huge": smg_answer(b" " * (17 << 20)),
    "deep": smg_answer(b"[" * 100_000),
}


@pytest.mark.parametrize("behave", BAD_SMG.values(), ids=BAD_SMG)
async def test_what_smg_should_not_answer_is_a_problem(behave: Behaviour) -> None:
    source, _ = await read_smg(behave)
    assert "/workers: " in source.problem
    assert "\n" not in source.problem
    assert source.targets == ()


async def test_an_smg_that_hangs_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.fleet.smg._TIMEOUT", 0.2)
    source, _ = await read_smg(hang)
    assert source.problem.endswith("no answer within 0.2 s")


async def test_an_smg_that_goes_away_keeps_its_workers() -> None:
    async with make_session(ssl.create_default_context()) as session:
        async with serving(smg_answer()) as server:
            source = Source("smg", SmgWorkers(session, server.worker, None))
            await source.refresh()
        await source.refresh()
    assert workers(source) == ["grpc://a:1"]
    assert source.problem
