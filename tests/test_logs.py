import json
import logging
import re
from collections.abc import Iterator

import pytest

from exporter import logs

logger = logging.getLogger("exporter.test")


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """Put back what configure() replaces."""
    root, package = logging.getLogger(), logging.getLogger("exporter")
    before = root.handlers[:], root.level, package.level
    root.handlers = []  # so that configure() closes none of pytest's
    yield
    root.handlers, level, package_level = before
    root.setLevel(level)
    package.setLevel(package_level)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("http://[::]:18001/metrics", "http://[::]:18001/metrics"),
        ("", '""'),
        ("a b", '"a b"'),
        ("a=b", '"a=b"'),
        ('say "x"', r'"say \"x\""'),
        ("a\\b", r"a\b"),
        ("two\nlines", r'"two\nlines"'),
        ("tab\t", r'"tab\t"'),
        ("\x00\x1b\x7f\x85", r'"\u0000\u001b\u007f\u0085"'),
        ("\u2028", r'"\u2028"'),
        ("\udcff", r'"\udcff"'),
        ("größe", "größe"),
        ("größe x", '"größe x"'),
        (True, "true"),
        (None, "null"),
        (12, "12"),
        (0.5, "0.5"),
    ],
)
def test_logfmt_quotes_only_where_it_has_to(
    capsys: pytest.CaptureFixture[str], value: object, written: str
) -> None:
    logs.configure("info", "logfmt")
    logger.info("listening", extra=logs.fields(url=value))
    ts, rest = capsys.readouterr().err.split(" ", 1)
    assert re.fullmatch(r"ts=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", ts)
    assert rest == f"level=info msg=listening url={written}\n"


def test_time_is_utc_with_milliseconds() -> None:
    record = logging.makeLogRecord({"msg": "x", "levelname": "INFO", "created": 1767323045.0})
    assert logs.LogfmtFormatter().format(record) == "ts=2026-01-02T03:04:05.000Z level=info msg=x"


def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    logger.warning("skipped %s", "a.db", extra=logs.fields(reason="too\nlarge", size=3, path=logging))
    (line,) = capsys.readouterr().err.splitlines()
    event = json.loads(line)
    assert list(event) == ["ts", "level", "msg", "reason", "size", "path"]
    assert event | {"ts": ""} == {
        "ts": "",
        "level": "warning",
        "msg": "skipped a.db",
        "reason": "too\nlarge",
        "size": 3,
        "path": str(logging),
    }


def fail() -> None:
    raise OSError("gone\naway")


@pytest.mark.parametrize("line_format", ["logfmt", "json"])
@pytest.mark.parametrize("level", ["info", "debug"])
def test_an_exception_stays_on_its_line_and_has_a_traceback_only_at_debug(
    capsys: pytest.CaptureFixture[str], line_format: str, level: str
) -> None:
    logs.configure(level, line_format)
    try:
        fail()
    except OSError:
        logger.exception("scrape failed")
    (line,) = capsys.readouterr().err.splitlines()
    assert r"OSError: gone\naway" in line
    assert ("Traceback" in line) == (level == "debug")


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_levels(capsys: pytest.CaptureFixture[str], level: str) -> None:
    logs.configure(level, "logfmt")
    every = ["debug", "info", "warning", "error"]
    for name in every:
        logger.log(logging.getLevelName(name.upper()), name)
    assert re.findall(r"msg=(\w+)", capsys.readouterr().err) == every[every.index(level) :]


@pytest.mark.parametrize(("level", "heard"), [("debug", 1), ("warning", 1), ("error", 0)])
def test_libraries_are_heard_from_warning_up(
    capsys: pytest.CaptureFixture[str], level: str, heard: int
) -> None:
    logs.configure(level, "logfmt")
    library = logging.getLogger("watchfiles.main")
    library.info("1 change detected")
    library.warning("trouble")
    assert capsys.readouterr().err.count("msg=") == heard


def test_configuring_again_replaces(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    logs.configure("info", "logfmt")
    logger.info("once")
    assert capsys.readouterr().err.count("once") == 1
