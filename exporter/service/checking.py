"""What the checks of all daemons share: whether the port is free, and the URLs of the metrics."""

import errno
import json
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from exporter.addresses import host_port, local_host
from exporter.service.asking import NoAnswerError, ask
from exporter.web.listen import Endpoint, ListenError

if TYPE_CHECKING:
    from exporter.web.access.access import Access


def check_port(
    endpoint: Endpoint, is_same: Callable[[Mapping[str, Any]], bool], served: str
) -> tuple[bool, str]:
    """Return whether a daemon could listen, and a line that says why or why not.

    A port held by the exporter that this one would replace counts as free: `is_same` recognizes that exporter by its
    `/status.json`, and `served` names in the line what it serves. One that shows its status to users only counts too.
    """
    try:
        endpoint.attempt()
    except ListenError as error:
        holder = _holder(endpoint, is_same, served) if error.errno == errno.EADDRINUSE else ""
        return bool(holder), f"held by {holder}" if holder else endpoint.explain(error)
    return True, "free"


def urls(endpoint: Endpoint, access: "Access | None", path: str) -> Iterator[str]:
    """Yield the URLs at which the metrics would be served."""
    scheme = "https" if access and access.tls else "http"
    for host in endpoint.hosts or ("0.0.0.0", "::"):
        yield f"{scheme}://{host_port(host, endpoint.port)}{path}"


def _holder(endpoint: Endpoint, is_same: Callable[[Mapping[str, Any]], bool], served: str) -> str:
    """Describe the exporter that holds the port, if this one would replace it; else return an empty text."""
    try:
        answer = ask(local_host(endpoint.hosts), endpoint.port, "/status.json")
        if answer.is_ours and answer.status == 401:  # noqa: PLR2004 - HTTP's own number
            return (
                "an smg-exporter that shows its status to its users only, so that check could not look closer"
            )
        facts = json.loads(answer.body) if answer.is_ours else None
    except (NoAnswerError, ValueError, RecursionError):
        return ""
    same = isinstance(facts, dict) and is_same(facts)
    return f"the smg-exporter that serves {served} now" if same else ""
