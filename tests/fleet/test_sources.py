"""Where targets come from; and that a bad edit, or a gateway that is away, takes none away."""

import asyncio
import json
import logging
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from exporter.fleet.sources import Discovery, SmgWorkers, Source, SourceError, WorkersFile
from exporter.fleet.targets import from_option
from exporter.scraping.client import make_session
from tests.support.targets import Behaviour, answer, hang, reset, serving

GROUPS = [{"targets": ["grpc://a:1", "grpc://b:1"], "labels": {"rack": "x"}}, {"targets": ["c:9400"]}]


def workers(source: Source) -> list[str]:
    return [target.worker_addr for target in source.targets]


# --- A file ---


@pytest.mark.parametrize("suffix", [".json", ".yaml", ".yml"])
async def test_a_file_is_json_or_yaml(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"workers{suffix}"
    text = json.dumps(GROUPS)
    if suffix != ".json":
        text = "- targets: ['grpc://a:1', grpc://b:1]\n  labels: {rack: x}\n- targets:\n  - c:9400\n"
    file.write_text(text)
    source = Source("file", WorkersFile(file))
    await source.refresh()
    assert workers(source) == ["grpc://a:1", "grpc://b:1", "http://c:9400"]
    assert source.targets[0].labels == {"rack": "x"}
    assert source.problem == ""


BAD_FILES = {
    "no YAML": "- targets: [",
    "no list": "targets: []",
    "no group": "- x",
    "no targets": "- labels: {}",
    "no labels": "- {targets: [], labels: [x]}",
    "an alias bomb of a type": "!!python/object/apply:os.getcwd []",
    "empty": "",
    "no text": "\x00",
    "no number": '- targets: [!!int ""]',
    "no time": "- targets: [!!timestamp x]",
    "no truth": "- targets: [!!bool x]",
    "a key twice": "- {targets: [grpc://a:1], targets: [grpc://b:1]}",
}


@pytest.mark.parametrize("text", BAD_FILES.values(), ids=BAD_FILES)
async def test_a_bad_edit_keeps_the_targets_and_a_good_one_brings_new_ones(tmp_path: Path, text: str) -> None:
    file = tmp_path / "workers.yaml"
    file.write_text("- targets: [grpc://a:1]")
    source = Source("file", WorkersFile(file))
    await source.refresh()
    read = source.last_success
    file.write_text(text)
    await source.refresh()
    assert workers(source) == ["grpc://a:1"]
    assert source.problem.startswith(str(file))
    assert "\n" not in source.problem
    assert source.last_success == read
    file.write_text("- targets: [grpc://b:1]")
    await source.refresh()
    assert workers(source) == ["grpc://b:1"]
    assert source.problem == ""


async def test_a_key_that_is_given_twice_in_json_is_refused_as_in_yaml(tmp_path: Path) -> None:
    file = tmp_path / "workers.json"
    file.write_text('[{"targets": ["grpc://a:1"], "targets": ["grpc://b:1"]}]')
    source = Source("file", WorkersFile(file))
    await source.refresh()
    assert source.problem == f"{file}: 'targets' is given twice"


async def test_a_file_that_is_away_keeps_the_targets(tmp_path: Path) -> None:
    file = tmp_path / "workers.yaml"
    source = Source("file", WorkersFile(file))
    await source.refresh()
    assert source.problem == f"{file}: No such file or directory"
    file.write_text("- targets: [grpc://a:1]")
    await source.refresh()
    file.unlink()
    await source.refresh()
    assert workers(source) == ["grpc://a:1"]
    assert source.problem
    file.write_text("- targets: [grpc://a:1]")
    await source.refresh()
    assert source.problem == ""


async def test_malformed_entries_are_skipped_counted_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "exporter")
    file = tmp_path / "workers.yaml"
    file.write_text("- targets: [grpc://a:1, 'ftp://b', grpc://c]")
    source = Source("file", WorkersFile(file))
    for _ in range(3):
        await source.refresh()
    assert workers(source) == ["grpc://a:1"]
    assert source.skipped == 2
    assert [reason.partition(" is not ")[0] for reason in source.reasons] == ["'ftp://b'", "'grpc://c'"]
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 2, "each is logged once"


async def test_a_wake_up_is_a_reading(tmp_path: Path) -> None:
    file = tmp_path / "workers.yaml"
    source = Source("file", WorkersFile(file))
    wakeups: asyncio.Queue[None] = asyncio.Queue()
    done: asyncio.Queue[None] = asyncio.Queue()

    async def wake() -> AsyncIterator[None]:
        while True:
            await wakeups.get()
            yield
            done.put_nowait(None)

    running = asyncio.create_task(source.run(wake()))
    for name in ("a", "b"):
        file.write_text(f"- targets: [grpc://{name}:1]")
        wakeups.put_nowait(None)
        await asyncio.wait_for(done.get(), 5)
        assert workers(source) == [f"grpc://{name}:1"]
    running.cancel()


# --- SMG ---

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
    monkeypatch.setattr("exporter.fleet.sources._SMG_TIMEOUT", 0.2)
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


# --- All of them ---


class Fixed:
    def __init__(self, *texts: str) -> None:
        self.texts: tuple[str, ...] | None = texts

    async def read(self) -> list[object]:
        if self.texts is None:
            raise SourceError("away")
        return [from_option(text) for text in self.texts]


async def test_options_go_before_sources_and_each_worker_is_there_once() -> None:
    first, second = Fixed("grpc://b:1=http://first:1", "grpc://c:1"), Fixed("grpc://c:1", "grpc://d:1")
    sources = [Source("file", first), Source("smg", second)]  # type: ignore[arg-type]
    discovery = Discovery([from_option("grpc://a:1"), from_option("grpc://b:1")], sources)
    for source in sources:
        await source.refresh()
    assert [target.worker_addr for target in discovery.targets] == [f"grpc://{name}:1" for name in "abcd"]
    assert discovery.targets[1].metrics_url == "http://b:10001/metrics"
    second.texts = None
    await sources[1].refresh()
    assert len(discovery.targets) == 4
    assert discovery.problem == ""
    first.texts = ()
    await sources[0].refresh()
    assert [target.worker_addr for target in discovery.targets] == [f"grpc://{name}:1" for name in "abcd"]


async def test_a_worker_that_vanishes_while_down_stays_a_target_for_ten_minutes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reader, now, down = Fixed("grpc://a:1", "grpc://b:1", "grpc://c:1"), [0.0], {"grpc://a:1", "grpc://b:1"}
    source = Source(
        "smg",
        reader,  # type: ignore[arg-type]
        is_down=lambda target: target.worker_addr in down,
        clock=lambda: now[0],
    )
    discovery = Discovery([], [source])

    async def refreshed(*listed: str) -> list[str]:
        reader.texts = listed
        await source.refresh()
        return [target.worker_addr for target in discovery.targets]

    await source.refresh()
    caplog.clear()
    assert await refreshed() == ["grpc://a:1", "grpc://b:1"], "c answers, so it was removed on purpose"
    assert discovery.listed == frozenset()
    assert discovery.problem == ""
    assert await refreshed("grpc://a:1") == ["grpc://a:1", "grpc://b:1"]
    assert discovery.listed == {"grpc://a:1"}
    now[0] = 599.0
    assert await refreshed("grpc://a:1") == ["grpc://a:1", "grpc://b:1"]
    now[0] = 600.0
    reader.texts = None  # a gateway that is away does not prolong it
    await source.refresh()
    assert [target.worker_addr for target in discovery.targets] == ["grpc://a:1"]
    assert await refreshed() == ["grpc://a:1"]
    down.clear()
    assert await refreshed() == [], "it answers again"
    messages = [record.getMessage() for record in caplog.records if "vanished" in record.getMessage()]
    assert len(messages) == 2, "each time that a worker vanishes, once"


async def test_why_there_is_no_target_is_told() -> None:
    nothing, away = Fixed(), Fixed()
    away.texts = None
    sources = [Source("file", nothing), Source("smg", away)]  # type: ignore[arg-type]
    discovery = Discovery([], sources)
    assert discovery.problem == "no target: file: not read yet; smg: not read yet"
    for source in sources:
        await source.refresh()
    assert discovery.problem == "no target: file: names no worker; away"
