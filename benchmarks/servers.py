"""Servers to scrape. Each notes when and how long its event loop was blocked.

    python -m benchmarks.servers exporter OPTION...   smg-exporter's serve, with its own options
    python -m benchmarks.servers sidecar DIR PORT     what SGLang's gRPC server does on its loop
    python -m benchmarks.servers blind OPTION...      serve, but nothing is noted for the engine view; not watched

On SIGTERM a server ends, and prints its blocks as JSON: [[start in monotonic seconds, duration in seconds], ...].
"""

import asyncio
import json
import signal
import sys
from collections.abc import Coroutine
from unittest.mock import patch

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest

from exporter import cli
from exporter.service.engine_views import EngineViews

_TICK = 0.001
"""Seconds between two checks of the loop: the resolution of the blocks."""

Blocks = list[tuple[float, float]]


async def _watch(blocks: Blocks) -> None:
    """Note each time that a sleep of one tick took a tick longer than asked."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _TICK
        await asyncio.sleep(_TICK)
        late = loop.time() - due
        if late > _TICK:
            blocks.append((due, late))


def _run_watched(main: Coroutine[object, object, int]) -> int:
    """Run `main` as asyncio.run does, and watch the loop meanwhile."""
    blocks: Blocks = []

    async def both() -> int:
        watch = asyncio.create_task(_watch(blocks))
        try:
            return await main
        finally:
            watch.cancel()

    with asyncio.Runner() as runner:
        code = runner.run(both())
    print(json.dumps(blocks))
    return code


async def _sidecar(directory: str, port: int) -> int:
    """At each request, merge and render on the event loop. Without compression, which would only add to the time."""

    async def metrics(_request: web.Request) -> web.Response:
        registry = CollectorRegistry()
        MultiProcessCollector(registry, directory)
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await runner.cleanup()
    return 0


def _main() -> int:
    command, *words = sys.argv[1:]
    if command == "sidecar":
        directory, port = words
        return _run_watched(_sidecar(directory, int(port)))
    if command == "blind":
        with patch.object(EngineViews, "offer", lambda _: None):
            return cli.main(words)
    with patch("asyncio.run", _run_watched):  # the exporter's code is otherwise unchanged
        return cli.main(words)


if __name__ == "__main__":
    sys.exit(_main())
