"""The status page of a node's exporter: a `NodeStatus` as HTML."""

from collections.abc import Mapping, Sequence

from exporter import paths
from exporter.node.status import MemberStatus, NodeStatus
from exporter.web import engine_page, html
from exporter.web.engine_page import View

LONGEST_LIST = 500
"""Rows of a list; beyond, a count. The whole list is in /status.json."""

_ENDPOINTS = [
    (paths.NODE_METRICS, "the metrics of all workers; ?worker=NAME: of one"),
    (paths.SERVICE_DISCOVERY, "the workers, for Prometheus' HTTP service discovery"),
]


def render(status: NodeStatus, views: Sequence[View], chosen: str = "", *, now: float) -> str:
    """Return the page at the time `now`, in Unix seconds, with the engine `views`. Every value is escaped.

    `chosen` is the name of the only worker in `views`; empty if all are.
    """
    return html.page(
        "smg-exporter node",
        _state(status),
        version=status.version,
        started=status.started,
        now=now,
        engine=engine_page.worker(views[0], is_one_of_several=True) if chosen else engine_page.workers(views),
        is_single=bool(chosen),
        details={"Node": html.text(status.node_name) + html.problem(status.problem)},
        figures=[
            (f"{sum(worker.series for worker in status.workers):,}", "series"),
            (f"{status.processes:,}", "processes seen"),
            (html.duration(status.discovery_seconds), "last look"),
            (html.ago(status.last_scrape, now), "last scrape"),
        ],
        sections=[
            html.section("Workers", _workers(status)),
            html.halves(
                html.section("Not served", _not_served(status)),
                html.endpoints(_ENDPOINTS, "while no worker could be found"),
            ),
        ],
    )


def _state(status: NodeStatus) -> html.State:
    if status.problem:
        return html.State("down", "No worker can be found", status.problem)
    if not status.workers:
        return html.State("unknown", "No worker", "No process of this host writes metrics files.")
    live = sum(worker.state == "live" for worker in status.workers)
    count = html.count(len(status.workers), "worker", "workers")
    if live == len(status.workers):
        return html.State("up", f"{count} up", "Each has a living process.")
    return html.State(
        "down", f"{len(status.workers) - live} of {count} down", "Counters of ended workers stay for a while."
    )


def _workers(status: NodeStatus) -> str:
    if not status.workers:
        return '<p class="faint">None.</p>'
    rows = map(_worker, status.workers[:LONGEST_LIST])
    table = html.listing(rows, "worker", "state", "processes", "series")
    return table + html.rest(len(status.workers), LONGEST_LIST)


def _worker(worker: MemberStatus) -> str:
    state = "up" if worker.state == "live" else "down"
    directory = f"<br>{html.code(worker.directory)}" if worker.directory != worker.name else ""
    return html.row(
        f"{html.code(worker.name)}{directory}{html.problem(worker.problem)}{html.more(worker.command)}",
        f'<span class="{state}">{worker.state}</span>',
        f"{len(worker.pids):,}",
        f"{worker.series:,}",
    )


def _not_served(status: NodeStatus) -> str:
    rows = [
        *_counts(
            {f"processes of user {user}": count for user, count in status.denied.items()},
            f"closed to the exporter: {status.way_in}",
        ),
        *([html.row("other users' processes", html.text(status.hidden))] if status.hidden else []),
        *_counts({"workers": status.left_out}, "beyond --max-workers"),
        *(html.row(html.code(path), html.text(why)) for path, why in status.unreadable.items()),
    ]
    return html.table(rows) if rows else '<p class="faint">Nothing is left out.</p>'


def _counts(counts: Mapping[str, int], why: str) -> list[str]:
    return [
        html.row(html.text(f"{count:,} {what}"), html.text(why)) for what, count in counts.items() if count
    ]
