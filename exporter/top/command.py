"""`smg-exporter top`: the engine view of workers in the terminal; as a table, or as JSON, once."""

import asyncio
import json
import shutil
import signal
import ssl
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from importlib.util import find_spec
from itertools import chain

from exporter import PROGRAM
from exporter.addresses import local_host, metrics_url
from exporter.options.top import TopOptions
from exporter.paths import HEALTHY, WORKER_METRICS
from exporter.scraping.client import make_session, scrape, trusting
from exporter.service.asking import NoAnswerError, ask
from exporter.service.healthcheck import password
from exporter.top.overview import LEGEND, Order, table
from exporter.top.poll import MAX_BYTES, Source
from exporter.top.texts import plain

_NEEDED = "textual"
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_FILE_WIDTH = 160
"""Characters of a line where the output is no terminal."""


def top(options: TopOptions) -> int:
    """Show the workers until the user quits; with `--once` or `--json`, print them once. Return the exit code."""
    if options.once or options.json:
        return asyncio.run(_print_once(options))
    if find_spec(_NEEDED) is None:
        return _refuse("top needs Textual: pip install 'smg-exporter[top]'; --once and --json do without it")
    if not (sys.stdin.isatty() and sys.stderr.isatty()):  # Textual draws on stderr
        return _refuse("top needs a terminal; --once and --json do without one")
    return asyncio.run(_show(options))


def _refuse(why: str) -> int:
    print(f"{PROGRAM}: error: {why}", file=sys.stderr)
    return 1


async def _show(options: TopOptions) -> int:
    from exporter.top.screen import Screen  # noqa: PLC0415 - it needs what not every installation has

    async with _sources(options) as sources:
        screen = Screen(sources, options.window)
        loop = asyncio.get_running_loop()
        for number in _STOP_SIGNALS:
            loop.add_signal_handler(number, screen.exit)  # which leaves the terminal as it was
        await screen.run_async(mouse=False)
        return screen.return_code or 0


async def _print_once(options: TopOptions) -> int:
    """Read twice, a window apart, and print what is known then; the exit code is 0 if any worker is up."""
    async with _sources(options) as sources:
        await _read(sources)
        await asyncio.sleep(options.window)
        await _read(sources)
    views = Order().sort(chain.from_iterable(source.views for source in sources))
    if options.json:
        print(json.dumps({"time": time.time(), "window_seconds": options.window, "workers": views}, indent=2))
    else:
        width = shutil.get_terminal_size((_FILE_WIDTH, 0)).columns
        print(f"Rates and percentiles over {options.window:g} s, between two reads. {LEGEND}")
        for line in table(views, width, Order()):
            print(plain(line))
    return 0 if any(view["up"] is not False for view in views) else 1


async def _read(sources: Sequence[Source]) -> None:
    await asyncio.gather(*(source.read() for source in sources))


@asynccontextmanager
async def _sources(options: TopOptions) -> AsyncIterator[Sequence[Source]]:
    """Yield what is to be read; SettingsError if the password or the CA file cannot be used."""
    user = (options.user, password(options.password_file)) if options.user and options.password_file else None
    tls = trusting(options.target_ca_file)
    urls = tuple(dict.fromkeys(options.url))
    if not urls:
        urls = (await asyncio.to_thread(_of_this_machine, options),)
        # Not verified: the certificate names this machine as scrapers know it; no data leaves the machine.
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    async with make_session(tls, user) as session:
        get = partial(scrape, session, limit=MAX_BYTES)
        yield [Source(url, _name(url), get, window=options.window) for url in urls]


def _of_this_machine(options: TopOptions) -> str:
    """Return the metrics URL of the exporter on this machine, with the scheme that it answers."""
    host, port = local_host(options.listen_host), options.metrics_port
    try:
        scheme = ask(host, port, HEALTHY[0]).url.partition(":")[0]
    except NoAnswerError:
        scheme = "http"  # the first read tells what is wrong
    return metrics_url(f"{scheme}://{host}:{port}{WORKER_METRICS}")


def _name(url: str) -> str:
    """Return the name of a worker that does not tell its own."""
    return url.removesuffix(WORKER_METRICS)
