"""The engine view as HTML: plain figures for a first look, which `engine_page.js` keeps up to date and adds charts to.

An element with `data-path` shows what the view has there, in `data-format`; one with `data-bar` is as wide as a ratio;
one with `data-if` is there where the view has something true.
The script reads the same attributes, so that what a page shows is said here only.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from exporter.web import html

View = Mapping[str, Any]
"""What is known of a worker, as /engine.json has it."""

NOTHING: View = {"name": "", "condition": {"state": "unknown", "text": "Waiting for a worker"}, "ranks": []}
"""The view of no worker."""

_RATES = "Rates and percentiles are those of the last minute."

_TROUBLE_FIRST = ("down", "saturated", "queueing", "lagging", "unknown", "serving", "idle")


# --- Values as text: engine_page.js has the same ---


def _rate(value: float) -> str:
    if value >= 10_000:  # noqa: PLR2004 - from here on in thousands
        return f"{value / 1000:,.1f}k"
    places = 0 if value <= 0 or value >= 10 else 2 if value < 1 else 1  # noqa: PLR2004 - digits that matter
    return f"{value:,.{places}f}"


def _seconds(value: float) -> str:
    if value < 1:
        return f"{1000 * value:.1f} ms" if value < 0.01 else f"{1000 * value:.0f} ms"  # noqa: PLR2004 - likewise
    return f"{value:,.2f} s" if value < 10 else f"{value:,.1f} s" if value < 100 else f"{value:,.0f} s"  # noqa: PLR2004


_FORMATS: Mapping[str, Callable[[Any], str]] = {
    "text": str,
    "count": lambda value: f"{value:,.0f}" if value == int(value) else f"{value:,.1f}",
    "rate": _rate,
    "ratio": lambda value: f"{100 * value:.1f} %" if 0 < value < 0.1 else f"{100 * value:.0f} %",  # noqa: PLR2004
    "seconds": _seconds,
}


def shown(value: object, format_: str = "text") -> str:
    """Return a figure as text; a dash for one that is unknown."""
    return "\N{EN DASH}" if value is None else _FORMATS[format_](value)


def _look_up(view: View, path: str) -> Any:
    found: Any = view
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


class _Cell(NamedTuple):
    """A figure in a tile or a table."""

    name: str
    path: str
    format: str
    bar: str = ""
    """The path of a ratio to show as a bar."""
    rank: str = ""
    """`minor` or `medium`: the CSS class of what narrow, or only the narrowest, screens do without."""

    def value(self, view: View, tag: str = "span") -> str:
        """Return the element that shows the figure of a view."""
        text = html.text(shown(_look_up(view, self.path), self.format))
        return f'<{tag} data-path="{self.path}" data-format="{self.format}">{text}</{tag}>'

    def bar_of(self, view: View) -> str:
        """Return the bar that belongs to the figure, if one does."""
        if not self.bar:
            return ""
        return html.bar(_look_up(view, self.bar), f'data-bar="{self.bar}"')


_TILES = (
    _Cell("running", "requests.running", "count"),
    _Cell("queued", "requests.queued", "count"),
    _Cell("requests per second", "requests.per_second", "rate"),
    _Cell("tokens per second", "tokens.generated_per_second", "rate"),
    _Cell("first token, p95", "latency_seconds.time_to_first_token.p95", "seconds"),
    _Cell("inter-token, p95", "latency_seconds.inter_token.p95", "seconds"),
    _Cell("KV cache in use", "kv_cache_usage", "ratio", bar="kv_cache_usage"),
    _Cell("prompt from cache", "tokens.cache_hit_ratio", "ratio", bar="tokens.cache_hit_ratio"),
)

_MORE = (
    _Cell("prompt tokens per second", "tokens.prompt_per_second", "rate"),
    _Cell("of these from cache", "tokens.cached_per_second", "rate"),
    _Cell("aborted per second", "requests.aborted_per_second", "rate"),
    _Cell("end to end, p95", "latency_seconds.end_to_end.p95", "seconds"),
    _Cell("in queue, p95", "latency_seconds.queue.p95", "seconds"),
)
_SPECULATIVE = (
    _Cell("drafted tokens accepted", "speculative.accept_rate", "ratio"),
    _Cell("tokens per step", "speculative.accept_length", "rate"),
)
_DISAGGREGATION = (
    _Cell("prefill bootstrap queue", "disaggregation.queues.prefill_bootstrap", "count"),
    _Cell("prefill in flight", "disaggregation.queues.prefill_inflight", "count"),
    _Cell("decode preallocation queue", "disaggregation.queues.decode_prealloc", "count"),
    _Cell("decode transfer queue", "disaggregation.queues.decode_transfer", "count"),
    _Cell("KV transfer, p95", "disaggregation.transfer_seconds.p95", "seconds"),
    _Cell("failed transfers per second", "disaggregation.failed_transfers_per_second", "rate"),
)


class _Chart(NamedTuple):
    """A chart over the history."""

    title: str
    format: str
    series: Mapping[str, str]
    """The name of each line, by its figure in the history."""
    most: str = ""
    """The end of the scale; empty: as high as the values."""


def _percentiles(latency: str) -> Mapping[str, str]:
    return {f"{latency}_{name}": name for name in ("p50", "p95", "p99")}


_CHARTS = (
    _Chart("Requests", "count", {"running": "running", "queued": "queued"}),
    _Chart(
        "Tokens per second",
        "rate",
        {
            "generated_per_second": "generated",
            "prompt_per_second": "prompt",
            "cached_per_second": "cached",
        },
    ),
    _Chart(
        "KV cache and cache hits",
        "ratio",
        {"kv_cache_usage": "KV in use", "cache_hit_ratio": "cache hits"},
        "1",
    ),
    _Chart("Time to first token", "seconds", _percentiles("time_to_first_token")),
    _Chart("Inter-token latency", "seconds", _percentiles("inter_token")),
    _Chart("Time in queue", "seconds", _percentiles("queue")),
)

_RANK_CELLS = (
    _Cell("running", "running", "count", bar="share"),
    _Cell("queued", "queued", "count"),
    _Cell("KV in use", "kv_cache_usage", "ratio", bar="kv_cache_usage"),
    _Cell("generated/s", "generated_per_second", "rate", rank="minor"),
    _Cell("in queue, p95", "latency_seconds.queue.p95", "seconds", rank="minor"),
)

_WORKER_CELLS = (
    _Cell("running", "requests.running", "count"),
    _Cell("queued", "requests.queued", "count"),
    _Cell("requests/s", "requests.per_second", "rate", rank="minor"),
    _Cell("tokens/s", "tokens.generated_per_second", "rate", rank="medium"),
    _Cell("first token, p95", "latency_seconds.time_to_first_token.p95", "seconds", rank="minor"),
    _Cell("KV in use", "kv_cache_usage", "ratio", bar="kv_cache_usage", rank="minor"),
    _Cell("cache hits", "tokens.cache_hit_ratio", "ratio", rank="minor"),
)


def is_single(views: Sequence[View], chosen: str) -> bool:
    """Return whether a page shows one worker: the `chosen` one, or the only one."""
    return bool(chosen) or len(views) <= 1


def engine(views: Sequence[View], chosen: str) -> str:
    """Return the sections of one worker, or the section of several."""
    if is_single(views, chosen):
        return worker(views[0] if views else NOTHING, is_one_of_several=bool(chosen))
    return workers(views)


def worker(view: View, *, is_one_of_several: bool = False) -> str:
    """Return the sections of one worker: its condition, its figures, charts, and its ranks.

    Of a worker without an engine's figures there is nothing to see; but of one of several, what it is called.
    """
    back = '<p><a href="./">All workers</a></p>' if is_one_of_several else ""
    more = "".join(f"<span{_if(view, path)}> · {_text(view, path)}</span>" for path in ("model", "engine"))
    condition = view["condition"]
    state = (
        f'<section class="state" data-state="{condition["state"]}">'
        f'<strong data-path="condition.text">{html.text(condition["text"])}</strong>'
        f'<p class="mono facts">{_text(view, "name")}{more}</p>{back}</section>'
    )
    figures = "".join(
        [
            f'<section class="tiles">{_tiles(_TILES, view)}</section>',
            f'<div class="charts">{"".join(map(_chart, _CHARTS))}</div>',
            _ranks(view),
            f'<section class="tiles small">{_tiles(_MORE, view)}</section>',
            _section_of("speculative", "Speculative decoding", _SPECULATIVE, view),
            _section_of("disaggregation", "Prefill and decode", _DISAGGREGATION, view),
            f'<p class="faint note">{_RATES}</p>',
        ]
    )
    if is_one_of_several:
        return f'<div id="engine">{state}<div{_if(view, "engine")}>{figures}</div></div>'
    return f'<div id="engine"><div{_if(view, "engine")}>{state}{figures}</div></div>'


def _text(view: View, path: str) -> str:
    return f'<span data-path="{path}">{html.text(view.get(path) or "")}</span>'


def _if(view: View, path: str) -> str:
    """Return the attributes of an element that is there where the view has something true."""
    return f' data-if="{path}"{"" if view.get(path) else " hidden"}'


def _section_of(path: str, heading: str, cells: Iterable[_Cell], view: View) -> str:
    return f'<section{_if(view, path)}><h2>{heading}</h2><div class="tiles small">{_tiles(cells, view)}</div></section>'


def workers(views: Iterable[View]) -> str:
    """Return the section of several workers: a table, those in trouble first."""
    ordered = sorted(views, key=lambda view: (_TROUBLE_FIRST.index(view["condition"]["state"]), view["name"]))
    states = [view["condition"]["state"] for view in ordered]
    counts = "".join(
        f'<b data-state="{state}">{states.count(state):,} {state}</b> '
        for state in _TROUBLE_FIRST
        if state in states
    )
    head = _heads((("worker", "name", ""), ("state", "condition.state", "")), _WORKER_CELLS)
    rows = "".join(_worker_row(view) for view in ordered)
    return (
        f'<section id="engine"><div class="bench"><h2>Workers</h2><p id="summary">{counts}</p>'
        '<input id="filter" type="search" placeholder="Filter" aria-label="Filter workers"></div>'
        f'<table id="workers" class="sheet"><thead><tr>{head}'
        '<th scope="col" class="medium">tokens/s, last half hour</th></tr></thead>'
        f"<tbody>{rows}</tbody><template>{_worker_row(NOTHING)}</template></table>"
        f'<p class="faint note">{_RATES}</p></section>'
    )


def _tiles(cells: Iterable[_Cell], view: View) -> str:
    return "".join(
        f'<p>{cell.value(view, "b")}<span class="faint">{cell.name}</span>{cell.bar_of(view)}</p>'
        for cell in cells
    )


def _chart(chart: _Chart) -> str:
    most = f' data-most="{chart.most}"' if chart.most else ""
    legend = "".join(
        f'<span class="key s{place}">{line} <b data-now></b></span>'
        for place, line in enumerate(chart.series.values())
    )
    return (
        f'<figure class="chart" data-series="{" ".join(chart.series)}" data-format="{chart.format}"{most}>'
        f"<figcaption><h2>{chart.title}</h2><time></time></figcaption>"
        f'<p class="legend">{legend}</p>'
        f'<svg role="img" tabindex="0" aria-label="{chart.title} over the last half hour"></svg></figure>'
    )


def _ranks(view: View) -> str:
    most = max((rank.get("running") or 0 for rank in view["ranks"]), default=0) or 1
    ranks = [{**rank, "share": (rank.get("running") or 0) / most} for rank in view["ranks"]]
    rows = "".join(map(_rank_row, ranks))
    hidden = "" if len(ranks) > 1 else " hidden"
    return (
        f'<section id="ranks"{hidden}><h2>Ranks</h2><table class="sheet"><thead><tr>'
        f"{_heads((('rank', '', ''),), _RANK_CELLS)}</tr></thead>"
        f"<tbody>{rows}</tbody><template>{_rank_row({})}</template></table></section>"
    )


def _rank_row(rank: View) -> str:
    label = html.text(str(rank.get("rank", "")))
    return (
        f'<tr data-key="{label}"><th scope="row"><span data-path="rank">{label}</span>'
        f'<span class="mark"{_if(rank, "lags")}>lags</span></th>{_cells(_RANK_CELLS, rank)}</tr>'
    )


def _worker_row(view: View) -> str:
    label = html.text(view["name"])
    return (
        f'<tr data-key="{label}"><th scope="row"><a class="mono" data-path="name" '
        f'href="./?worker={html.query(view["name"])}">{label}</a></th>'
        f'<td><span class="pill" data-state="{view["condition"]["state"]}" data-path="condition.state">'
        f"{view['condition']['state']}</span></td>{_cells(_WORKER_CELLS, view)}"
        '<td class="medium"><svg class="spark" aria-hidden="true"></svg></td></tr>'
    )


def _heads(first: Sequence[tuple[str, str, str]], cells: Iterable[_Cell]) -> str:
    """Return the head of a table; one with a path is a button that sorts by it."""
    named = [(text, path, "", "ascending") for text, path, _ in first]
    named += [(cell.name, cell.path, f"number {cell.rank}".strip(), "descending") for cell in cells]
    sortable = bool(first[0][1])
    return "".join(
        f'<th scope="col"{f" class={kind!r}" if kind else ""}>'
        + (f'<button data-path="{path}" data-first="{order}">{text}</button>' if sortable else text)
        + "</th>"
        for text, path, kind, order in named
    )


def _cells(cells: Iterable[_Cell], view: View) -> str:
    return "".join(
        f'<td class="number {cell.rank}">{cell.value(view)}{cell.bar_of(view)}</td>' for cell in cells
    )
