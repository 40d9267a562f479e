"""Structured logs on stderr, one line per event, as logfmt or JSON.

logger.info("listening", extra=fields(url="http://[::]:18001/metrics"))
ts=2026-01-02T03:04:05.678Z level=info msg=listening url=http://[::]:18001/metrics
"""

import json
import logging
import math
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

_FEW = 5
"""Most names in a log line."""


def fields(**values: object) -> dict[str, dict[str, object]]:
    """Return the `extra` of a log call that adds these fields to its line."""
    return {"fields": values}


def by_number(names: Iterable[str]) -> list[str]:
    """Return names sorted: first numbers, by value, then other names."""
    return sorted(names, key=lambda name: (len(name) if name.isdigit() else math.inf, name))


def some(names: Sequence[str]) -> str:
    """Return the first few of some names, and how many more there are."""
    few = ",".join(names[:_FEW])
    return f"{few},... ({len(names) - _FEW} more)" if len(names) > _FEW else few


def configure(level: str, line_format: str) -> None:
    """Log to stderr from `level` (debug, info, warning, error) up, in `line_format` (logfmt, json).

    Libraries log from warning up only: operators do not need their other lines.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(level.upper())
    formatter = JsonFormatter if line_format == "json" else LogfmtFormatter
    handler.setFormatter(formatter(tracebacks=level == "debug"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("exporter").setLevel(level.upper())


class _EventFormatter(logging.Formatter):
    """Base of both formats: turns a log record into ordered fields."""

    def __init__(self, *, tracebacks: bool = False) -> None:
        super().__init__()
        self._tracebacks = tracebacks

    def event(self, record: logging.LogRecord) -> dict[str, object]:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        event: dict[str, object] = {
            "ts": time.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "msg": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[1]:
            error = record.exc_info[1]
            event["error"] = f"{type(error).__name__}: {error}"
            if self._tracebacks:
                event["traceback"] = self.formatException(record.exc_info)
        return event


class LogfmtFormatter(_EventFormatter):
    """`key=value` pairs; a value is quoted, and escaped as in JSON, only if needed."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line."""
        return " ".join(f"{key}={_logfmt_value(value)}" for key, value in self.event(record).items())


class JsonFormatter(_EventFormatter):
    """One JSON object per line; values without a JSON type become strings."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line."""
        return json.dumps(self.event(record), default=str)


def _logfmt_value(value: object) -> str:
    text = json.dumps(value) if value is None or isinstance(value, bool) else str(value)
    printable = text.isprintable()
    if text and printable and not any(character in ' ="' for character in text):
        return text
    # json.dumps does not escape DEL.
    return json.dumps(text, ensure_ascii=not printable).replace("\x7f", "\\u007f")
