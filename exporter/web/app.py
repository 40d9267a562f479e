"""What all applications have in common: status and health pages, error answers, limits, headers."""

from collections.abc import Awaitable, Callable, Iterable, Mapping

from aiohttp import hdrs, web

from exporter import PROGRAM, paths
from exporter.web.answers import line, send
from exporter.web.engine_json import EngineJson
from exporter.web.pages import F, Pages

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

SEND_TIMEOUT = 30.0
MAX_BODY = 1024
"""Limit on a request's body in bytes; no endpoint reads a body."""


def routes(pages: Pages[F], engine: EngineJson) -> dict[str, Handler]:
    """Return the handlers of the status and health pages and of the engine view, by path."""
    return {
        paths.INDEX: pages.index,
        paths.STATUS: pages.status_json,
        paths.ENGINE: engine.handle,
        **dict.fromkeys(paths.HEALTHY, pages.healthy),
        **dict.fromkeys(paths.READY, pages.ready),
    }


def make_application(handlers: Mapping[str, Handler], send_timeout: float) -> web.Application:
    """Return an application that serves `handlers`, by path, with the common limits, headers and error answers."""
    app = web.Application(middlewares=[_finisher(handlers, send_timeout)], client_max_size=MAX_BODY)
    app.on_response_prepare.append(_add_common_headers)
    for path, handler in handlers.items():
        app.router.add_get(path, handler)  # aiohttp adds HEAD too
    return app


def _finisher(served: Iterable[str], send_timeout: float) -> Callable[..., Awaitable[web.StreamResponse]]:
    """Return the middleware that answers 404 and 405 in one line, and sends every answer in bounded time."""
    not_found = f"not found; the paths are {', '.join(served)}"

    @web.middleware
    async def finish(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            response = await handler(request)
        except web.HTTPNotFound:
            response = line(404, not_found)
        except web.HTTPMethodNotAllowed as refusal:
            allowed = ", ".join(sorted(refusal.allowed_methods))
            response = line(405, f"{request.method} is not allowed; use {allowed}", {hdrs.ALLOW: allowed})
        if not response.prepared:  # MetricsHandler sends its answers itself
            await send(request, response, send_timeout)
        return response

    return finish


async def _add_common_headers(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers[hdrs.CACHE_CONTROL] = "no-store"
    response.headers[hdrs.SERVER] = PROGRAM
    response.headers["X-Content-Type-Options"] = "nosniff"
