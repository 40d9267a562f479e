"""How a worker is doing, by its figures."""

import pytest

from exporter.engine.condition import STATES, condition


@pytest.mark.parametrize(
    ("up", "running", "queued", "usage", "state", "text"),
    [
        (False, 5, 0, 0.5, "down", "Down"),
        (True, None, None, None, "unknown", "No figures of an engine"),
        (None, None, None, None, "unknown", "No figures of an engine"),
        (True, 30, 3, 0.97, "saturated", "Saturated: 3 queued, the KV cache is full"),
        (True, 30, 1200, 0.5, "queueing", "Queueing: 1,200 wait, 30 run"),
        (True, 30, 3, 0.5, "serving", "Serving"),
        (None, 30, None, None, "serving", "Serving"),
        (True, 30, 0, 0.99, "serving", "Serving"),
        (True, 0, 0, 0.1, "idle", "Idle"),
    ],
)
def test_condition(  # noqa: PLR0917 - a table's columns
    up: bool | None,  # noqa: FBT001 - likewise
    running: float | None,
    queued: float | None,
    usage: float | None,
    state: str,
    text: str,
) -> None:
    requests = {"running": running, "queued": queued, "per_second": None}
    found = condition({"requests": requests, "kv_cache_usage_worst": usage}, up=up)
    assert found == {"state": state, "text": text}
    assert state in STATES


@pytest.mark.parametrize(
    ("queued", "running", "lagging", "state", "text"),
    [
        (0, 30, ["tp 3"], "lagging", "Serving, but rank tp 3 lags"),
        (0, 30, ["tp 3", "tp 5"], "lagging", "Serving, but ranks tp 3 and tp 5 lag"),
        (0, 30, list("abcdef"), "lagging", "Serving, but ranks a; b; c and 3 more lag"),
        (99, 30, ["tp 3"], "queueing", "Queueing: 99 wait, 30 run; rank tp 3 lags"),
        (None, None, ["tp 3"], "unknown", "No figures of an engine"),
    ],
)
def test_a_rank_that_lags_is_told(
    queued: float | None, running: float | None, lagging: list[str], state: str, text: str
) -> None:
    figures = {
        "requests": {"running": running, "queued": queued, "per_second": None},
        "kv_cache_usage_worst": 0.5,
    }
    assert condition(figures, up=True, lagging=lagging) == {"state": state, "text": text}
    assert state in STATES
