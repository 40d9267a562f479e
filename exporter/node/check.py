"""`smg-exporter check node`: say which workers of this host would be served, and what stands in the way."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from exporter import paths
from exporter.discovery.finder import Finder
from exporter.errors import ScrapeError
from exporter.node.parts import Node
from exporter.node.serve import endpoint
from exporter.node.status import MemberStatus, NodeStatus
from exporter.options.node import NodeOptions
from exporter.printable import printable
from exporter.service.checking import check_port, urls
from exporter.service.run import load_access
from exporter.worker.check import print_worker
from exporter.worker.found import FoundWorker


def check(options: NodeOptions, make_finder: Callable[..., Finder] = Finder) -> int:
    """Print what `node` would do with these options; exit code 1 if it could not serve every worker now.

    `make_finder` makes what looks at processes.
    """
    access = load_access(options.web_config)
    node = Node(options, make_finder, quiet=True)
    asyncio.run(_look(node))
    with suppress(ScrapeError):  # the status reports the error
        node.scraper.bodies([])
    status = node.status()
    where = endpoint(options)
    can_listen, port = check_port(where, _is_node, "this host's workers")
    not_served = [*_not_served(status, options.max_workers)]
    print(f"node        {status.node_name}")
    print(f"port        {where.port}, {where.rule}: {port}")
    for url in urls(where, access, paths.NODE_METRICS):
        print(f"url         {url}")
    print(f"seen        {_seen(status)}")
    print(f"workers     {status.problem or len(status.workers)}")
    for line in not_served:
        print(f"not served  {line}")
    for member in status.workers:
        if worker := node.worker(member.name):
            _print(member, worker)
    can_serve = bool(status.workers) and not not_served and not any(one.problem for one in status.workers)
    return 0 if can_listen and can_serve else 1


async def _look(node: Node) -> None:
    """Look once at all processes, and at the directories of the workers among them."""
    await node.look()
    await node.roster.look_only()


def _print(member: MemberStatus, worker: FoundWorker) -> None:
    print(f"\nworker      {member.name}")
    print(f"labels      {', '.join(f'{name}={value}' for name, value in member.labels.items())}")
    print(f"command     {member.command}")
    status = worker.status()
    if member.problem and not status.problem:
        print(f"problem     {member.problem}")
    print_worker(status)


def _seen(status: NodeStatus) -> str:
    denied = ", ".join(f"{count} of user {user}" for user, count in status.denied.items())
    not_into = f", of which may not be looked into {denied}: {status.way_in}" if denied else ""
    return f"{status.processes} processes{not_into}" + (f"; {status.hidden}" if status.hidden else "")


def _not_served(status: NodeStatus, most: int) -> Iterator[str]:
    for path, why in status.unreadable.items():
        yield f"{printable(path)}: {why}"
    if status.left_out:
        yield f"{status.left_out} more, beyond --max-workers {most}"


def _is_node(facts: Mapping[str, Any]) -> bool:
    """Whether `facts`, from `/status.json`, are of a node's exporter: there is one for a host."""
    return "node_name" in facts
