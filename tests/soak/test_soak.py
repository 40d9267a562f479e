"""The soak runs, and finds out an exporter that breaks promises. How ours keeps them is for `make soak` to say."""

import re
from pathlib import Path
from random import Random

import pytest

import soak.exporter
from soak.__main__ import PARTS, main
from soak.exporter import exporter
from soak.parts import Part
from soak.samples import of_stock
from soak.worker import Shares, files_of, make_directory

DOCUMENT = Path(__file__).parents[2] / "docs" / "reliability.md"

FAULTY = """
import http.server, itertools, os, signal, sys

def body(value):
    return 200, b"# TYPE soak_total counter\\nsoak_total %f\\n" % value

answers = itertools.chain([body(2), body(1), (503, b"no reason")], itertools.repeat(body(3)))
files = []

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        files.append(open("/dev/null"))
        status, text = next(answers)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass

(port,) = (word.partition("=")[2] for word in sys.argv if word.startswith("--listen-port="))
server = http.server.HTTPServer(("127.0.0.1", int(port)), Handler)
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
print("ts=0 level=info msg=listening", file=sys.stderr, flush=True)
server.serve_forever()
"""
"""An exporter whose counter falls, that fails a scrape, and that keeps a file open for each."""


def test_a_part_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--minutes=0.01", "--seed=7", "fleet-series"]) == 0
    out, _ = capsys.readouterr()
    assert "with seed 7" in out
    _, _, *rows = [line for line in out.splitlines() if line.startswith("|")]
    assert [row.rstrip("| ").endswith("yes") for row in rows] == [True] * len(rows)
    assert "100 scrapes of 16 workers" in rows[0]


def test_a_broken_promise_is_told_and_is_exit_code_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def faulty(part: Part) -> None:
        with exporter(part, tmp_path / "worker", program=("-c", FAULTY)) as subject:
            sums = part.promise("sums")
            subject.settles(sums, {"soak_total": 1.0}, "at the start")
            subject.note_resources()
            subject.scrape()
            subject.check_resources()

    monkeypatch.setattr(soak.exporter, "SETTLED", 0.0)
    monkeypatch.setitem(PARTS, "faulty", (faulty, 1))
    assert main(["--minutes=0.01", "faulty"]) == 1
    out, violations = capsys.readouterr()
    assert out.count("**no**") == 3
    assert "at the start: 1 samples differ: soak_total: expected 1.0, got 2.0" in violations
    assert "soak_total: 2.0 → 1.0" in violations
    assert "expected 200, got 503: b'no reason'" in violations
    assert re.search(r"\+[1-9] descriptors", violations)


def test_a_part_that_fails_is_told_and_the_others_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(part: Part) -> None:
        part.promise("never looked at")
        raise RuntimeError(part.name)

    for name in ("one", "two"):
        monkeypatch.setitem(PARTS, name, (failing, 1))
    assert main(["--minutes=0.01", "one", "two"]) == 1
    out, violations = capsys.readouterr()
    assert out.count("**no**") == 4
    assert "RuntimeError: one" in violations
    assert "RuntimeError: two" in violations


def test_what_vanished_stays_in_the_sums_that_are_expected(tmp_path: Path) -> None:
    directory = make_directory(tmp_path / "worker", Random(1), [1, 2])  # noqa: S311 - to be repeatable is the point
    shares = Shares(tmp_path / "shares")
    shares.take(*directory.iterdir())
    before = of_stock(directory.iterdir())
    assert shares.samples() == before
    shares.let_go(*files_of(directory, [1]))
    after = shares.samples()
    gauges = {key for key in before if "_load" in key or "_queue" in key}
    assert {key: after[key] for key in after if "_total" in key} == {
        key: before[key] for key in before if "_total" in key
    }
    assert {key for key in gauges if key not in after} == {key for key in gauges if 'pid="1"' in key}


def test_the_document_explains_each_part() -> None:
    text = DOCUMENT.read_text()
    assert [name for name in PARTS if f"**`{name}`**" not in text] == []
    assert [name for name in PARTS if f"\n| {name} " not in text] == []
