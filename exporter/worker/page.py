"""The status page: a `Status` as HTML."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from exporter.web import engine_page, html
from exporter.web.engine_page import View
from exporter.worker.status import FILE_STATES, PROCESS_STATES, Status, WorkerStatus

LONGEST_LIST = 200
"""Rows of a list; beyond, a count. The whole lists are in /status.json."""
_EXAMPLES = 3
"""Names of skipped files that are shown with their reason."""


def render(
    status: Status, views: Sequence[View], chosen: str = "", *, telemetry_path: str, now: float
) -> str:
    """Return the page at the time `now`, in Unix seconds, with the engine `views`. Every value is escaped.

    `chosen` is the address of the only worker in `views`; empty if all are.
    """
    is_lone = len(status.workers) == 1
    state = _state(status.workers[0]) if is_lone else _common_state(status.workers)
    addresses = dict.fromkeys(worker.worker_addr for worker in status.workers if worker.worker_addr)
    directories = (worker.directory for worker in status.workers)
    return html.page(
        "smg-exporter",
        state,
        title=f"{state.headline}: {', '.join(addresses or directories)}",
        version=status.version,
        started=status.started,
        now=now,
        engine=engine_page.engine(views, chosen),
        is_single=engine_page.is_single(views, chosen),
        details={
            "Worker": html.text(", ".join(addresses) or "no address"),
            "Directory": "<br>".join(
                html.text(worker.directory) + html.problem(worker.problem) for worker in status.workers
            ),
            "Collector": html.text(status.collector),
        },
        figures=_figures(status, now),
        sections=[
            "" if is_lone else html.section("Workers", _workers(status)),
            *(
                _of_worker(worker, "" if is_lone else f" of {status.name_of(worker)}")
                for worker in status.workers
            ),
            _also(status),
            html.halves(
                html.section("Last scrape", _phases(status)),
                html.endpoints(
                    [(telemetry_path, "the worker's metrics" if is_lone else "the workers' metrics")],
                    "while no file can be served",
                ),
            ),
            _errors(status),
        ],
    )


def _state(worker: WorkerStatus) -> html.State:
    count = sum(worker.process_counts.values())
    if worker.worker_up:
        return html.State("up", "Worker is up", _live(worker))
    if worker.worker_up is None:
        remark = (
            "The writers' names hold no pid, their processes cannot be looked up from here, or --liveness is off."
            if count
            else "No process has written metrics yet."
        )
        return html.State("unknown", "Liveness unknown" if count else "Waiting for a worker", remark)
    fate = "its only process has died" if count == 1 else f"all {count} processes have died"
    headline = f"Worker is down: {fate}" if count else "Worker is down"
    return html.State("down", headline, "The worker's counters are still served.")


def _live(worker: WorkerStatus) -> str:
    """Return how many processes live. Those that ended may have done so by design, and are not missed."""
    live, dead = (worker.process_counts.get(state, 0) for state in ("live", "dead"))
    ended = f"; {dead:,} {'has' if dead == 1 else 'have'} ended" if dead else ""
    return f"{html.count(live, 'process', 'processes')} live{ended}."


def _common_state(workers: Sequence[WorkerStatus]) -> html.State:
    up, down = (sum(worker.worker_up is is_up for worker in workers) for is_up in (True, False))
    tone = "up" if up == len(workers) else "down" if down == len(workers) else "unknown"
    remark = f"{down} down, liveness of {len(workers) - up - down} unknown." if up < len(workers) else ""
    return html.State(tone, f"{up} of {html.count(len(workers), 'worker', 'workers')} up", remark)


def _workers(status: Status) -> str:
    """Return a table of all workers."""
    return html.table(
        html.row(
            html.code(status.name_of(worker)),
            _tinted({True: "live", False: "dead", None: "unknown"}[worker.worker_up]),
            html.text(_live(worker) if worker.worker_up else worker.problem),
            f"{worker.series:,} series",
            html.text(
                f"left out of {sum(worker.left_out.values()):,} answers"
                if any(worker.left_out.values())
                else ""
            ),
        )
        for worker in status.workers
    )


def _of_worker(worker: WorkerStatus, of_it: str) -> str:
    """Return the sections on one worker; `of_it` ends their headings."""
    return _skipped(worker, of_it) + html.halves(
        html.section(f"Processes{of_it}", _processes(worker)), html.section(f"Files{of_it}", _files(worker))
    )


def _figures(status: Status, now: float) -> Sequence[tuple[str, str]]:
    states = sum((Counter(worker.file_counts) for worker in status.workers), Counter())
    read = sum(states[state] for state in PROCESS_STATES)
    updates = [worker.last_update for worker in status.workers if worker.last_update is not None]
    return [
        (f"{sum(worker.series for worker in status.workers):,}", "series"),
        (f"{read:,}", "files read"),
        (f"{states['skipped']:,}", "files skipped"),
        (html.ago(status.last_scrape, now), "last scrape"),
        (html.ago(max(updates, default=None), now), "last update"),
    ]


def _skipped(worker: WorkerStatus, of_it: str) -> str:
    skipped = [file for file in worker.files if file.state == "skipped"]
    if not skipped:
        return ""
    by_reason: dict[str, list[str]] = {}
    for file in skipped:
        by_reason.setdefault(file.reason, []).append(file.name)
    rows = [
        html.row(
            html.text(reason), f"{len(names):,}", " ".join(map(html.code, names[:_EXAMPLES])) + _more(names)
        )
        for reason, names in sorted(by_reason.items(), key=lambda item: -len(item[1]))[:LONGEST_LIST]
    ]
    table = html.table(rows, "reason", "files", "names")
    return html.section(f"Skipped files{of_it}", table + html.rest(len(by_reason), LONGEST_LIST))


def _more(names: Sequence[str]) -> str:
    return f" and {len(names) - _EXAMPLES:,} more" if len(names) > _EXAMPLES else ""


def _also(status: Status) -> str:
    if not status.also:
        return ""
    rows = [
        html.row(
            html.code(one.url),
            _tinted("unknown" if one.up is None else "up" if one.up else "down"),
            html.text(one.problem or (f"{one.samples:,} samples" if one.up else "not fetched yet")),
        )
        for one in status.also
    ]
    return html.section("Served too", html.table(rows))


def _processes(worker: WorkerStatus) -> str:
    if not worker.processes:
        return '<p class="faint">No process has written a file.</p>'
    rows = [
        html.row(html.code(process.pid), _tinted(process.state))
        for process in worker.processes[:LONGEST_LIST]
    ]
    states = _by_state(worker.process_counts, PROCESS_STATES)
    return states + _details("All processes", rows, len(worker.processes))


def _files(worker: WorkerStatus) -> str:
    if not worker.files:
        return '<p class="faint">No .db files.</p>'
    rows = [html.row(html.code(file.name), _tinted(file.state)) for file in worker.files[:LONGEST_LIST]]
    states = _by_state(worker.file_counts, FILE_STATES)
    return states + _details("All files", rows, len(worker.files))


def _phases(status: Status) -> str:
    if not status.scrape_durations:
        return '<p class="faint">No scrape yet.</p>'
    total = sum(status.scrape_durations.values())
    longest = max(status.scrape_durations.values())
    rows = [
        f'<tr><th scope="row">{html.text(phase)}</th>'
        f'<td class="phase">{html.bar(seconds / longest if longest else 0)}</td>'
        f'<td class="number">{html.duration(seconds)}</td></tr>'
        for phase, seconds in status.scrape_durations.items()
    ]
    rows.append(f'<tr><th scope="row">total</th><td></td><td class="number">{html.duration(total)}</td></tr>')
    return html.table(rows)


def _errors(status: Status) -> str:
    errors = sum((Counter(worker.file_errors) for worker in status.workers), Counter())
    rows = [
        f'<tr><th scope="row">{html.text(reason)}</th><td class="number">{count:,}</td></tr>'
        for reason, count in sorted(errors.items())
    ]
    if not rows:
        return ""
    return html.section("Skipped files and samples since start", html.table(rows))


def _by_state(counts: Mapping[str, int], states: Iterable[str]) -> str:
    """Return a table of the states whose count is not 0."""
    return html.table(
        f'<tr><td>{_tinted(state)}</td><td class="number">{counts[state]:,}</td></tr>'
        for state in states
        if counts.get(state)
    )


def _details(summary: str, rows: Sequence[str], total: int) -> str:
    return (
        f"<details><summary>{summary}</summary>{html.table(rows)}{html.rest(total, LONGEST_LIST)}</details>"
    )


def _tinted(state: str) -> str:
    return f'<span class="{html.text(state)}">{html.text(state)}</span>'
