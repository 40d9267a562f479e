"""Options of `node` and `check node`."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from exporter import addresses
from exporter.options.option import option
from exporter.options.shared import DefaultPort, FileSize, StaticLabels
from exporter.options.values import Duration, Pattern, Switch, Text, duration, whole


@dataclass(frozen=True, kw_only=True)
class NodeOptions(DefaultPort, FileSize, StaticLabels):
    """Options of `node` and `check node`."""

    _PORT: ClassVar[int] = addresses.NODE_PORT

    node_name: Text | None = option(
        "worker",
        "host in the worker_addr label of workers that listen on no address of their own",
        "NAME",
        shown="the host's name",
    )
    match: Pattern | None = option(
        "workers", "serve only workers whose command line matches", "REGEX", shown="all"
    )
    ignore: Pattern | None = option(
        "workers", "do not serve workers whose command line matches", "REGEX", shown="none"
    )
    derived_ports: Switch = option("listening", "listen on each worker's derived port as well", default=False)
    kubernetes_labels: Switch = option(
        "workers", "add the labels pod, namespace and container_id of workers in containers", default=False
    )
    forget_after: Annotated[Duration, duration(1, 86400)] = option(
        "workers", "how long an ended worker's counters stay", "DURATION", default=Duration(300)
    )
    max_workers: Annotated[int, whole(1, 10_000)] = option(
        "limits", "largest number of workers that are served", "N", default=256
    )
    max_series: Annotated[int, whole(1, 100_000_000)] = option(
        "limits", "largest number of series of one worker; further ones are left out", "N", default=200_000
    )
