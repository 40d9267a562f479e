"""Imports the code of a command: most of the time of a start, and much of a daemon's memory.

A daemon imports all that it may need before it serves: modules that are imported later could be those of another
version, installed meanwhile.
"""

import gc
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pkgutil import resolve_name
from typing import Any


def load(function: str) -> Callable[..., Any]:
    """Return the function `module:function`. Have garbage collected from here on, but not of what is there already."""
    with _without_certificates():
        found: Callable[..., Any] = resolve_name(function)
    gc.freeze()
    gc.enable()
    return found


@contextmanager
def _without_certificates() -> Iterator[None]:
    """Have TLS contexts load no CA certificates of the system.

    aiohttp makes two when it is imported, for requests without a TLS context. That takes 50 ms and 2 MiB, and all our
    requests have a context of their own.
    """
    ssl.SSLContext.set_default_verify_paths = lambda self: None  # type: ignore[method-assign] # noqa: ARG005 - the method's signature
    try:
        yield
    finally:
        del ssl.SSLContext.set_default_verify_paths  # the method is inherited
