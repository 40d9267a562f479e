"""How a worker is doing, in a word and in a line."""

from collections.abc import Sequence
from typing import Any

FULL = 0.95
"""KV usage from which on requests that wait are taken to wait for room."""

STATES = ("down", "saturated", "queueing", "lagging", "unknown", "serving", "idle")
"""All states, the worst first."""


_MOST_NAMES = 3
"""Ranks that are named; more are counted."""


def condition(figures: dict[str, Any], *, up: bool | None, lagging: Sequence[str] = ()) -> dict[str, str]:
    """Return the `state`, one of `STATES`, and a `text` that says more; `lagging` are the names of ranks that lag."""
    found = _condition(figures, up=up)
    if not lagging or found["state"] in {"down", "unknown"}:
        return found
    lag = f"rank {lagging[0]} lags" if len(lagging) == 1 else f"ranks {_list(lagging)} lag"
    if found["state"] in {"saturated", "queueing"}:
        return {**found, "text": f"{found['text']}; {lag}"}
    return {"state": "lagging", "text": f"{found['text']}, but {lag}"}


def _list(names: Sequence[str]) -> str:
    more = [f"{len(names) - _MOST_NAMES:,} more"] if len(names) > _MOST_NAMES else []
    *first, last = [*names[:_MOST_NAMES], *more]
    return f"{'; '.join(first)} and {last}"


def _condition(figures: dict[str, Any], *, up: bool | None) -> dict[str, str]:
    running, queued = figures["requests"]["running"], figures["requests"]["queued"]
    usage = figures["kv_cache_usage_worst"] or 0.0
    if up is False:
        return {"state": "down", "text": "Down"}
    if running is None:
        return {"state": "unknown", "text": "No figures of an engine"}
    if queued and usage >= FULL:
        return {"state": "saturated", "text": f"Saturated: {queued:,.0f} queued, the KV cache is full"}
    if queued and queued > running:
        return {"state": "queueing", "text": f"Queueing: {queued:,.0f} wait, {running:,.0f} run"}
    if running or queued or figures["requests"]["per_second"]:
        return {"state": "serving", "text": "Serving"}
    return {"state": "idle", "text": "Idle"}
