"""One worker: its figures, latencies, history and ranks, laid out for the size of the terminal."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

from exporter.printable import printable
from exporter.top import texts
from exporter.top.overview import STATE_STYLES, state
from exporter.top.poll import View
from exporter.top.texts import Line

WIDE = 126
"""Characters from which on figures and ranks stand side by side, and so do charts."""

_LEFT = 58
"""Characters of the left side of a wide terminal."""
_GAP = 3
_MOST_CHART_LINES = 12
_CHARTED_SECONDS = 600.0
"""The history that charts show at most."""
_LEAST_SECONDS = 60.0

_LATENCIES = {
    "time_to_first_token": "first token",
    "inter_token": "inter-token",
    "end_to_end": "whole request",
    "queue": "in the queue",
}


class _Chart(NamedTuple):
    title: str
    figure: str
    """Its name in the history."""
    text: Any
    top: float | None = None


_CHARTS = (
    _Chart("running", "running", texts.number),
    _Chart("queued", "queued", texts.number),
    _Chart("tokens out/s", "generated_per_second", texts.number),
    _Chart("tokens in/s", "prompt_per_second", texts.number),
    _Chart("KV cache", "kv_cache_usage", texts.percent, top=1.0),
    _Chart("TTFT95", "time_to_first_token_p95", texts.duration),
)


def detail(view: View, width: int, height: int) -> list[Line]:
    """Return the lines of a worker: `width` characters wide, and with charts as high as fit `height` lines."""
    head = _head(view, width)
    figures, ranks = [*_figures(view), [], *_latencies(view)], _ranks(view)
    if width >= WIDE:
        body = _beside(figures, ranks)
        charts = _grid(view, width, height - len(head) - len(body) - 2)
        return [*head, *body, [], _caption(view), *charts]
    room = height - len(head) - len(figures) - 1 - (len(ranks) + 1 if ranks else 0)
    charts = _column(view, width, room)
    return [*head, *figures, _caption(view), *charts, *([[], *ranks] if ranks else [])]


def _head(view: View, width: int) -> list[Line]:
    up = view["up"]
    line: Line = [(f"{printable(view['worker_addr'])}  ", "title"), (state(up), STATE_STYLES[up])]
    told = f"  {view['engine'] or 'unknown engine'}  {view['model'] or ''}"
    lines = [[*line, (texts.cut(told, max(width - texts.length(line), 0)).rstrip(), "")]]
    if view["problem"]:
        lines.append([(texts.cut(view["problem"], width).rstrip(), "bad")])
    return [*lines, []]


def _figures(view: View) -> list[Line]:
    requests, tokens, usage = view["requests"], view["tokens"], view["kv_cache_usage"]
    lines = [
        _line(
            "requests",
            ("running", texts.number(requests["running"])),
            ("queued", texts.number(requests["queued"])),
            ("a second", texts.number(requests["per_second"])),
            ("aborted", texts.number(requests["aborted_per_second"])),
        ),
        _line(
            "tokens/s",
            ("in", texts.number(tokens["prompt_per_second"])),
            ("cached", texts.number(tokens["cached_per_second"])),
            ("out", texts.number(tokens["generated_per_second"])),
            ("cache hits", texts.percent(tokens["cache_hit_ratio"])),
        ),
        [("KV cache  ", "dim"), (f"{texts.percent(usage):>4} ", ""), (texts.bar(usage, 32), "")],
    ]
    if speculative := view["speculative"]:
        accepted = texts.percent(speculative["accept_rate"])
        lines.append(
            _line(
                "drafts",
                ("accepted", accepted),
                ("tokens a step", texts.number(speculative["accept_length"])),
            )
        )
    if disaggregation := view["disaggregation"]:
        queues = disaggregation["queues"].items()
        lines.append(
            _line("queues", *((name.partition("_")[2], texts.number(value)) for name, value in queues))
        )
    return lines


def _line(title: str, *pairs: tuple[str, str]) -> Line:
    line: Line = [(f"{title:10}", "dim")]
    for name, value in pairs:
        line += [(f"{name} ", "dim"), (f"{value:<7}", "")]
    return line


def _latencies(view: View) -> list[Line]:
    lines: list[Line] = [[(f"{'latency':14}{'p50':>9}{'p95':>9}{'p99':>9}", "title")]]
    for name, title in _LATENCIES.items():
        found = view["latency_seconds"][name]
        values = "".join(f"{texts.duration(found[each]):>9}" for each in ("p50", "p95", "p99"))
        lines.append([(f"{title:14}", "dim"), (values, "")])
    return lines


def _ranks(view: View) -> list[Line]:
    if not view["ranks"]:
        return []
    lines: list[Line] = [[(f"{'rank':14}{'run':>6}{'queue':>7}{'out/s':>8}{'cache':>7}{'KV':>6}", "title")]]
    labels = _telling(view["ranks"])
    for rank in view["ranks"]:
        name = " ".join(f"{label.removesuffix('_rank')}{rank[label]}" for label in labels if label in rank)
        usage = rank.get("kv_cache_usage")
        figures = (
            f"{texts.number(rank.get('running')):>6}{texts.number(rank.get('queued')):>7}"
            f"{texts.number(rank.get('generated_per_second')):>8}{texts.percent(rank.get('cache_hit_ratio')):>7}"
            f"{texts.percent(usage):>6} "
        )
        line: Line = [(texts.cut(name, 14), "dim"), (figures, ""), (texts.bar(usage, 12), "")]
        lines.append([*line, (" lags", "bad")] if rank["lags"] else line)
    return lines


def _telling(ranks: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the labels that tell the ranks apart; of a lone rank, the first one."""
    values: dict[str, set[str]] = {}
    for rank in ranks:
        for label in rank:
            if label.endswith("_rank"):
                values.setdefault(label, set()).add(rank[label])
    return [label for label in values if len(values[label]) > 1] or list(values)[:1]


def _beside(left: Sequence[Line], right: Sequence[Line]) -> list[Line]:
    """Return two blocks of lines, side by side."""
    lines = []
    empty: Line = []
    for one, other in zip_longest(left, right, fillvalue=empty):
        space = " " * max(_LEFT - texts.length(one), 0)
        lines.append([*one, (space, ""), *other] if other else list(one))
    return lines


def _column(view: View, width: int, room: int) -> list[Line]:
    """Return the charts one below the other."""
    height = min(room // len(_CHARTS) - 1, _MOST_CHART_LINES)
    if height > 1:
        return [line for each in _CHARTS for line in _tall(view, each, width, height)]
    return [_low(view, each, width) for each in _CHARTS]


def _grid(view: View, width: int, room: int) -> list[Line]:
    """Return the charts in two columns."""
    rows = -(-len(_CHARTS) // 2)
    height = max(min(room // rows - 1, _MOST_CHART_LINES), 2)
    width = (width - _GAP) // 2
    lines: list[Line] = []
    for left, right in zip(_CHARTS[::2], _CHARTS[1::2], strict=True):
        both = _tall(view, left, width, height), _tall(view, right, width, height)
        lines += [[*one, (" " * _GAP, ""), *other] for one, other in zip(*both, strict=True)]
    return lines


def _low(view: View, chart: _Chart, width: int) -> Line:
    row = _history(view, chart, max(width - 22, 1))
    return [
        (f"{chart.title:13}", "dim"),
        (texts.chart(row, top=chart.top)[0], "chart"),
        (f"{chart.text(_last(view, chart)):>9}", ""),
    ]


def _tall(view: View, chart: _Chart, width: int, height: int) -> list[Line]:
    row = _history(view, chart, width)
    most = max((value for value in row if value is not None), default=None)
    title = f"{chart.title}  {chart.text(_last(view, chart))}"
    told = f"most {chart.text(most)}"
    head: Line = [(title, ""), (told.rjust(max(width - len(title), 0)), "dim")]
    return [head, *([(line, "chart")] for line in texts.chart(row, height, chart.top))]


def _history(view: View, chart: _Chart, width: int) -> list[float | None]:
    history, end = view["history"], view["time"] or 0.0
    return texts.over_time(history["times"], history[chart.figure], width, end, _span(view))


def _last(view: View, chart: _Chart) -> float | None:
    values = view["history"][chart.figure]
    return values[-1] if values else None


def _span(view: View) -> float:
    """Return how many seconds of the history the charts show."""
    times = view["history"]["times"]
    known = (view["time"] or 0.0) - times[0] if times else 0.0
    return min(max(known, _LEAST_SECONDS), _CHARTED_SECONDS)


def _caption(view: View) -> Line:
    minutes = _span(view) / 60
    return [(f"the last {minutes:.0f} min" if minutes > 1 else "the last minute", "dim")]
