"""The status page of a fleet: a `FleetStatus` as HTML."""

from collections.abc import Sequence

from exporter import paths
from exporter.fleet.status import FleetStatus, SourceStatus, TargetStatus
from exporter.web import engine_page, html
from exporter.web.engine_page import View

LONGEST_LIST = 500
"""Rows of a list; beyond, a count. The whole list is in /status.json."""
_SHORT_LIST = 20
"""Targets that are shown at once; more are folded up."""

_TROUBLE_FIRST = {"down": 0, "dead": 1, "unknown": 2, "up": 3}
_ENDPOINTS = [
    (paths.FLEET_METRICS, "the workers' metrics"),
    (paths.FLEET_OWN_METRICS, "the fleet exporter's own metrics"),
    (paths.SERVICE_DISCOVERY, "the targets, for Prometheus' HTTP service discovery"),
]


def render(status: FleetStatus, views: Sequence[View], worker: str = "", *, now: float) -> str:
    """Return the page at the time `now`, in Unix seconds, with the engine `views`. Every value is escaped.

    `worker` is the address of the only one to show; empty: show all.
    """
    return html.page(
        "smg-exporter fleet",
        _state(status),
        version=status.version,
        started=status.started,
        now=now,
        engine=engine_page.worker(views[0], is_one_of_several=True) if worker else engine_page.workers(views),
        is_single=bool(worker),
        figures=_figures(status, now),
        sections=[
            html.section("Targets", _targets(status)),
            html.halves(
                html.section("Sources of targets", _sources(status, now)),
                html.endpoints(_ENDPOINTS, "without a target"),
            ),
        ],
    )


def _state(status: FleetStatus) -> html.State:
    states = [target.state for target in status.targets]
    if not states:
        return html.State("down", "No target", status.problem)
    targets = html.count(len(states), "target", "targets")
    if "unknown" in states:
        scraped = len(states) - states.count("unknown")
        remark = f"{scraped} scraped so far; a request for {paths.FLEET_METRICS} scrapes all."
        return html.State("unknown", targets, remark)
    up, down, dead = (states.count(state) for state in ("up", "down", "dead"))
    if up == len(states):
        return html.State("up", f"{targets} up", "As of the last scrape.")
    headline = f"{down + dead} of {targets} down" if up else f"{targets} down: no worker is up"
    remarks = (
        f"{down:,} cannot be scraped." if down else "",
        f"{dead:,} can be scraped, but all of the worker's processes are dead." if dead else "",
        "The other targets' metrics are served." if up else "",
    )
    return html.State("down", headline, " ".join(filter(None, remarks)))


def _figures(status: FleetStatus, now: float) -> Sequence[tuple[str, str]]:
    return [
        (f"{sum(target.samples for target in status.targets):,}", "samples"),
        (html.ago(status.last_scrape, now), "last scrape"),
        *((html.duration(seconds), phase) for phase, seconds in status.scrape_durations.items() if seconds),
    ]


def _targets(status: FleetStatus) -> str:
    trouble_first = sorted(status.targets, key=lambda target: _TROUBLE_FIRST[target.state])
    rows = map(_target, trouble_first[:LONGEST_LIST])
    count = len(status.targets)
    table = html.listing(rows, "target", "state", "took", "samples") + html.rest(count, LONGEST_LIST)
    if count <= _SHORT_LIST:
        return table
    return f"<details><summary>{html.count(count, 'target', 'targets')}</summary>{table}</details>"


def _target(target: TargetStatus) -> str:
    link = f'<a href="{html.text(target.metrics_url)}">{html.code(target.metrics_url)}</a>'
    labels = html.more(", ".join(f"{name}={value}" for name, value in target.labels.items()))
    vanished = "" if target.listed else html.problem("no longer listed by its source")
    return html.row(
        f"{html.code(target.worker_addr)}<br>{link}{html.problem(target.problem)}{vanished}{labels}",
        f'<span class="{"down" if target.state == "dead" else target.state}">{target.state}</span>',
        "" if target.seconds is None else html.duration(target.seconds),
        f"{target.samples:,}",
    )


def _sources(status: FleetStatus, now: float) -> str:
    if not status.sources:
        return '<p class="faint">Only the command line.</p>'
    return html.table(_source(source, now) for source in status.sources)


def _source(source: SourceStatus, now: float) -> str:
    skipped = f", {source.skipped:,} skipped" if source.skipped else ""
    return html.row(
        html.code(source.name) + "".join(map(html.problem, (source.problem, *source.reasons))),
        html.count(source.targets, "target", "targets") + skipped,
        f"read {html.ago(source.last_success, now)}",
    )
