"""One worker, as known so far: reads in, and its engine view out, with a short history; in bounded memory."""

from typing import Any

from exporter.engine import lag, view
from exporter.engine.condition import condition
from exporter.engine.gauges import Gauges
from exporter.engine.history import MOST_ROWS, History
from exporter.engine.increases import NOTHING, Increases, Window
from exporter.engine.meanings import engine_of, meaning_of
from exporter.model import FamilyValues, Snapshot

WINDOW = 60.0
"""Seconds over which rates and percentiles are taken."""
BUDGET = 4 << 20
"""Bytes that one worker may take."""

_FIXED_BYTES = 8 << 10
"""What a tracker takes that knows nothing yet."""
_ROW_BYTES = 240
"""What a row of the history takes."""
_CELL_BYTES = 64
"""What a cell takes, with its share of layouts and of gauges, but without the reads that are remembered."""
_HISTORY_SHARE = 5
"""One part in so many is for the history."""
_AMPLE, _MOST_READS, _FEWEST_READS = 1 << 20, 32, 12
"""From which budget on how many reads are remembered, and how many below."""

_MODEL_LABELS = ("model_name", "model", "name")
"""Labels with the name of the model, best first."""

FIGURES = {
    "running": ("requests", "running"),
    "queued": ("requests", "queued"),
    "requests_per_second": ("requests", "per_second"),
    "aborted_per_second": ("requests", "aborted_per_second"),
    "prompt_per_second": ("tokens", "prompt_per_second"),
    "cached_per_second": ("tokens", "cached_per_second"),
    "generated_per_second": ("tokens", "generated_per_second"),
    "cache_hit_ratio": ("tokens", "cache_hit_ratio"),
    "kv_cache_usage": ("kv_cache_usage",),
    **{
        f"{latency}_{percentile}": ("latency_seconds", latency, percentile)
        for latency in view.LATENCIES
        for percentile in view.PERCENTILES
    },
}
"""The figures that have a history, and where each is in the view."""

_BRIEF = ("running", "queued", "generated_per_second")
"""The figures whose history a brief view has."""


class Tracker:
    """Follows one worker. Times are Unix seconds."""

    def __init__(self, budget: int = BUDGET, window: float = WINDOW) -> None:
        """Take up to `budget` bytes; with less, the history is coarser, and families that do not fit are unknown."""
        reads = _MOST_READS if budget >= _AMPLE else _FEWEST_READS
        history = max(0, budget - _FIXED_BYTES) // _HISTORY_SHARE
        cells = (_HISTORY_SHARE - 1) * history // (_CELL_BYTES + 8 * reads)
        self._gauges = Gauges(cells // 3)
        self._increases = Increases(window, most_reads=reads, most_cells=cells)
        self._history = History(list(FIGURES), min(MOST_ROWS, history // _ROW_BYTES))
        self._lag = lag.Lag()
        self._time: float | None = None
        self._up: bool | None = None
        self._engine: str | None = None
        self._model: str | None = None
        self._window = NOTHING
        self._figures = view.figures(self._gauges, NOTHING)

    def take(self, time: float, snapshot: Snapshot, *, up: bool | None) -> None:
        """Take a read at `time`; `up` is whether the worker is up, None if that is unknown."""
        known = {
            meaning.family: (meaning, family)
            for family in snapshot
            if (meaning := meaning_of(family.family.name, family.family.type))
        }
        families = sorted(known.values(), key=lambda pair: pair[0].place)
        self._gauges.take(pair for pair in families if pair[0].type == "gauge")
        self._increases.take(time, (pair for pair in families if pair[0].type != "gauge"))
        self._time, self._up = time, up
        self._lag.take(time, *view.paces(self._gauges, self._increases.window(lag.SECONDS)))
        self._engine = engine_of(known) or self._engine
        self._model = next(filter(None, (_model(family) for _, family in families)), self._model)
        self._note(self._increases.window())

    def fail(self, time: float, *, up: bool | None) -> None:
        """Note that the worker could not be read at `time`: all its figures are unknown."""
        self._gauges.take(())
        self._lag.take(time, {}, {})
        self._time, self._up = time, up
        self._note(NOTHING)

    def view(self, since: float = 0.0, *, brief: bool = False) -> dict[str, Any]:
        """Return what is known, as JSON values; the history is that after `since`.

        `brief`: without ranks, and with the history of a few figures only.
        """
        lagging = self._lag.ranks
        ranks = [] if brief and not lagging else view.of_ranks(self._gauges, self._window, lagging)
        names = [rank["rank"] for rank in ranks if rank["lags"]]
        return {
            "engine": self._engine,
            "model": self._model,
            "up": self._up,
            "condition": condition(self._figures, up=self._up, lagging=names),
            "time": self._time,
            "window_seconds": self._window.seconds,
            **self._figures,
            "ranks": [] if brief else ranks,
            "history": self._history.since(since, _BRIEF if brief else FIGURES),
        }

    def _note(self, window: Window) -> None:
        """Work the figures out, and remember them."""
        self._window = window
        self._figures = view.figures(self._gauges, window)
        self._history.add(
            self._time or 0.0, {name: _look_up(self._figures, path) for name, path in FIGURES.items()}
        )


def _look_up(figures: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        figures = figures[name]
    return figures


def _model(family: FamilyValues) -> str | None:
    """Return the name of the model, as the labels of a family's first sample have it."""
    labels = next((dict(labels) for samples in family.samples for _, labels in samples), {})
    return next((labels[name] for name in _MODEL_LABELS if labels.get(name)), None)
