"""How a worker is doing, in a word and in a line."""

from typing import Any

FULL = 0.95
"""KV usage from which on requests that wait are taken to wait for room."""

STATES = ("down", "saturated", "queueing", "unknown", "serving", "idle")
"""All states, the worst first."""


def condition(figures: dict[str, Any], *, up: bool | None) -> dict[str, str]:
    """Return the `state`, one of `STATES`, and a `text` that says more."""
    running, queued = figures["requests"]["running"], figures["requests"]["queued"]
    usage = figures["kv_cache_usage_worst"] or 0.0
    if up is False:
        return {"state": "down", "text": "Down"}
    if running is None:
        return {"state": "unknown", "text": "Waiting for figures of an engine"}
    if queued and usage >= FULL:
        return {"state": "saturated", "text": f"Saturated: {queued:,.0f} queued, the KV cache is full"}
    if queued and queued > running:
        return {"state": "queueing", "text": f"Queueing: {queued:,.0f} wait, {running:,.0f} run"}
    if running or queued or figures["requests"]["per_second"]:
        return {"state": "serving", "text": "Serving"}
    return {"state": "idle", "text": "Idle"}
