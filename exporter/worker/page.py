"""The status page: the facts as HTML. Nothing but strings; the layout is in status.html."""

from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from string import Template

from exporter.web import html
from exporter.worker.status import FILE_STATES, PROCESS_STATES, Status

LONGEST_LIST = 200
"""Rows of a list; beyond, a count. The whole lists are in /status.json."""

_TEMPLATE = Template(files("exporter.worker").joinpath("status.html").read_text(encoding="utf-8"))


def render(status: Status, *, telemetry_path: str, now: float) -> str:
    """Return the page of one moment, `now` in Unix seconds. Every value in it is escaped."""
    tone, headline, remark = _verdict(status)
    return _TEMPLATE.substitute(
        style=html.STYLE,
        title=html.text(f"{headline}: {status.worker_addr}"),
        version=html.text(status.version),
        as_of=f"{html.time(now)}, started {html.ago(status.started, now)}",
        tone=tone,
        headline=html.text(headline),
        remark=html.text(remark),
        worker_addr=html.text(status.worker_addr),
        collector=html.text(status.collector),
        directory=html.text(status.directory),
        problem=f'<br><span class="problem">{html.text(status.problem)}</span>' if status.problem else "",
        figures=_figures(status, now),
        skipped=_skipped(status),
        processes=_processes(status),
        files=_files(status),
        phases=_phases(status),
        endpoints=_endpoints(telemetry_path),
        errors=_errors(status),
    )


def _verdict(status: Status) -> tuple[str, str, str]:
    """Return the tone, the big line and the line below it."""
    count = sum(status.process_counts.values())
    live = status.process_counts.get("live", 0)
    if status.worker_up:
        return "up", "Worker is up", f"{live} of {html.count(count, 'process', 'processes')} live."
    if status.worker_up is None:
        remark = (
            "The writers' pids cannot be looked up from here, or --liveness is off."
            if count
            else "No process has written metrics yet."
        )
        return "unknown", "Liveness unknown", remark
    fate = "its only process has died" if count == 1 else f"all {count} processes have died"
    return "down", f"Worker is down: {fate}" if count else "Worker is down", "Its counters are still served."


def _figures(status: Status, now: float) -> str:
    states = status.file_counts
    read = sum(states.get(state, 0) for state in PROCESS_STATES)
    figures = [
        (f"{status.series:,}", "series"),
        (f"{read:,}", "files read"),
        (f"{states.get('skipped', 0):,}", "files skipped"),
        (html.ago(status.last_scrape, now), "last scrape"),
        (html.ago(status.last_update, now), "last update"),
    ]
    return "".join(f'<p><b>{value}</b><span class="faint">{name}</span></p>' for value, name in figures)


def _skipped(status: Status) -> str:
    skipped = [file for file in status.files if file.state == "skipped"]
    if not skipped:
        return ""
    rows = [html.row(html.code(file.name), html.text(file.reason)) for file in skipped[:LONGEST_LIST]]
    return f"<section><h2>Skipped files</h2>{html.table(rows)}{_rest(len(skipped))}</section>"


def _processes(status: Status) -> str:
    if not status.processes:
        return '<p class="faint">None has written a file.</p>'
    rows = [
        html.row(html.code(process.pid), _state(process.state)) for process in status.processes[:LONGEST_LIST]
    ]
    states = _by_state(status.process_counts, PROCESS_STATES)
    return states + _details("Every process", rows, len(status.processes))


def _files(status: Status) -> str:
    if not status.files:
        return '<p class="faint">There is none.</p>'
    rows = [html.row(html.code(file.name), _state(file.state)) for file in status.files[:LONGEST_LIST]]
    states = _by_state(status.file_counts, FILE_STATES)
    return states + _details("Every file", rows, len(status.files))


def _phases(status: Status) -> str:
    if not status.scrape_durations:
        return '<p class="faint">None yet.</p>'
    total = sum(status.scrape_durations.values())
    longest = max(status.scrape_durations.values())
    rows = [
        f"<tr><th>{html.text(phase)}</th>"
        f'<td class="bar"><i style="width:{100 * seconds / longest if longest else 0:.0f}%"></i></td>'
        f'<td class="number">{html.duration(seconds)}</td></tr>'
        for phase, seconds in status.scrape_durations.items()
    ]
    rows.append(f'<tr><th>together</th><td></td><td class="number">{html.duration(total)}</td></tr>')
    return html.table(rows)


def _endpoints(telemetry_path: str) -> str:
    endpoints = [
        (telemetry_path, "the metrics"),
        ("/status.json", "this page for programs"),
        ("/readyz", "whether there is a file to read"),
        ("/healthz", "whether the exporter serves"),
    ]
    # Relative, so that they hold behind a proxy's path prefix.
    rows = [
        html.row(f'<a href="{html.text("." + path)}">{html.code(path)}</a>', html.text(meaning))
        for path, meaning in endpoints
    ]
    return html.table(rows)


def _errors(status: Status) -> str:
    rows = [
        f'<tr><th>{html.text(reason)}</th><td class="number">{count:,}</td></tr>'
        for reason, count in sorted(status.file_errors.items())
        if count
    ]
    if not rows:
        return ""
    return f"<section><h2>Skipped files and samples since start</h2>{html.table(rows)}</section>"


def _by_state(counts: Mapping[str, int], states: Iterable[str]) -> str:
    """Return a table of counts, without those that are 0."""
    return html.table(
        f'<tr><td>{_state(state)}</td><td class="number">{counts[state]:,}</td></tr>'
        for state in states
        if counts.get(state)
    )


def _details(summary: str, rows: Sequence[str], total: int) -> str:
    return f"<details><summary>{summary}</summary>{html.table(rows)}{_rest(total)}</details>"


def _rest(total: int) -> str:
    """Return the line that stands for what a list of `total` entries leaves out."""
    if total <= LONGEST_LIST:
        return ""
    more = f"and {total - LONGEST_LIST:,} more"
    return f'<p class="faint">{more}; <a href="./status.json">status.json</a> has all</p>'


def _state(state: str) -> str:
    return f'<span class="{html.text(state)}">{html.text(state)}</span>'
