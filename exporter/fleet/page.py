"""The status page: the facts as HTML. Nothing but strings; the layout is in status.html."""

from importlib.resources import files
from string import Template

from exporter.fleet.status import FleetStatus, SourceStatus, TargetStatus
from exporter.web import html

LONGEST_LIST = 500
"""Rows of a list; beyond, a count. The whole list is in /status.json."""

_TEMPLATE = Template(files("exporter.fleet").joinpath("status.html").read_text(encoding="utf-8"))
_TROUBLE_FIRST = {"down": 0, "unknown": 1, "up": 2}
_ENDPOINTS = [
    ("/engine_metrics", "the workers' metrics"),
    ("/metrics", "this process's own"),
    ("/sd", "the targets, for Prometheus to scrape itself"),
    ("/status.json", "this page for programs"),
    ("/readyz", "whether there is a target"),
    ("/healthz", "whether this process serves"),
]


def render(status: FleetStatus, *, now: float) -> str:
    """Return the page of one moment, `now` in Unix seconds. Every value in it is escaped."""
    tone, headline, remark = _verdict(status)
    return _TEMPLATE.substitute(
        style=html.STYLE,
        title=html.text(headline),
        version=html.text(status.version),
        as_of=f"{html.time(now)}, started {html.ago(status.started, now)}",
        tone=tone,
        headline=html.text(headline),
        remark=html.text(remark),
        figures=_figures(status, now),
        targets=_targets(status),
        sources=_sources(status, now),
        endpoints=html.table(
            html.row(f'<a href=".{path}">{html.code(path)}</a>', html.text(meaning))
            for path, meaning in _ENDPOINTS
        ),
    )


def _verdict(status: FleetStatus) -> tuple[str, str, str]:
    """Return the tone, the big line and the line below it."""
    states = [target.state for target in status.targets]
    if not states:
        return "down", "No target", status.problem
    targets = html.count(len(states), "target", "targets")
    if "unknown" in states:
        scraped = len(states) - states.count("unknown")
        return "unknown", targets, f"{scraped} of them scraped so far: a scrape of /engine_metrics asks all."
    if "down" in states:
        return "down", f"{states.count('down')} of {targets} down", "The others' metrics are served."
    return "up", f"{targets} up", "As of the last scrape."


def _figures(status: FleetStatus, now: float) -> str:
    durations = status.scrape_durations
    figures = [
        (f"{sum(target.samples for target in status.targets):,}", "samples"),
        (html.ago(status.last_scrape, now), "last scrape"),
        *((html.duration(seconds), phase) for phase, seconds in durations.items()),
    ]
    return "".join(f'<p><b>{value}</b><span class="faint">{name}</span></p>' for value, name in figures)


def _targets(status: FleetStatus) -> str:
    shown = sorted(status.targets, key=lambda target: _TROUBLE_FIRST[target.state])[:LONGEST_LIST]
    rest = len(status.targets) - len(shown)
    more = f'<p class="faint">and {rest:,} more; <a href="./status.json">status.json</a> has all</p>'
    return html.table(map(_target, shown)) + (more if rest else "")


def _target(target: TargetStatus) -> str:
    link = f'<a href="{html.text(target.metrics_url)}">{html.code(target.metrics_url)}</a>'
    problem = f'<br><span class="problem">{html.text(target.problem)}</span>' if target.problem else ""
    labels = ", ".join(f"{name}={value}" for name, value in target.labels.items())
    return html.row(
        f"{html.code(target.worker_addr)}<br>{link}{problem}",
        f'<span class="faint">{html.text(labels)}</span>',
        f'<span class="{target.state} number">{target.state}</span>',
        "" if target.seconds is None else html.duration(target.seconds),
        f"{target.samples:,} samples",
    )


def _sources(status: FleetStatus, now: float) -> str:
    if not status.sources:
        return '<p class="faint">None but the command line.</p>'
    return html.table(_source(source, now) for source in status.sources)


def _source(source: SourceStatus, now: float) -> str:
    problem = f'<br><span class="problem">{html.text(source.problem)}</span>' if source.problem else ""
    skipped = f", {source.skipped:,} skipped" if source.skipped else ""
    return html.row(
        f"{html.code(source.name)}{problem}",
        html.count(source.targets, "target", "targets") + skipped,
        f"read {html.ago(source.last_success, now)}",
    )
