"""Whom to scrape: workers, and where their metrics are. Nothing but decisions."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from exporter.addresses import (
    AddressError,
    WorkerUrl,
    host_of,
    metrics_url,
    worker_and_metrics_url,
    worker_url,
)

_PORT_LABELS = ("metrics_port", "prometheus_port")
_SMG_FACTS = ("model_id", "worker_type", "runtime_type", "connection_mode")
_IMPLIED_SCHEMES = {"grpc": "grpc", "http": "http"}
"""SMG's connection mode -> the scheme of a URL without one."""


class TargetError(ValueError):
    """What cannot be a target; its str is one line with the reason."""


@dataclass(frozen=True)
class Target:
    """One metrics endpoint to scrape."""

    worker_addr: str
    """What names its worker: scheme, host and port, without a rank."""
    metrics_url: str
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    """What else is known of the worker, by label names of Prometheus."""


def from_option(text: str) -> Target:
    """Return the target that `WORKER[=METRICS]` names; TargetError where it names none."""
    try:
        worker, url = worker_and_metrics_url(text)
    except AddressError as error:
        raise TargetError(str(error)) from None
    return Target(worker.address, url)


def from_smg(worker: object) -> Target:
    """Return the target of an entry of SMG's `GET /workers`; TargetError where it is none."""
    if not isinstance(worker, dict) or not isinstance(worker.get("url"), str):
        raise TargetError("a worker has no url")
    text = worker["url"]
    if "://" not in text:
        text = f"{_IMPLIED_SCHEMES.get(str(worker.get('connection_mode')), 'http')}://{text}"
    facts = {name: worker[name] for name in _SMG_FACTS if name in worker}
    labels = worker.get("labels")
    return _from_url(text, {**(labels if isinstance(labels, dict) else {}), **facts})


def from_file(text: object, labels: Mapping[str, Any]) -> Target:
    """Return the target of an entry of a file_sd file; TargetError where it is none.

    An entry with a scheme is a worker's URL. One without is an exporter's, as it is to Prometheus: the labels
    `__scheme__`, `__metrics_path__` and `worker_addr` say the rest.
    """
    if not isinstance(text, str):
        raise TargetError("a target is no text")
    if "://" in text:
        return _from_url(text, labels)
    scheme = labels.get("__scheme__", "http")
    path = labels.get("__metrics_path__", "/metrics")
    try:
        url = metrics_url(f"{scheme}://{text}{path}")
        named = worker_url(str(labels.get("worker_addr", f"{scheme}://{text}")))
    except AddressError as error:
        raise TargetError(str(error)) from None
    return Target(named.address, url, _label_names(labels))


def distinct(targets: Iterable[Target]) -> tuple[Target, ...]:
    """Return the targets without those whose metrics URL, or worker, an earlier one has: ranks of one server."""
    urls: set[str] = set()
    workers: set[str] = set()
    kept = []
    for target in targets:
        if target.metrics_url not in urls and target.worker_addr not in workers:
            urls.add(target.metrics_url)
            workers.add(target.worker_addr)
            kept.append(target)
    return tuple(kept)


def _from_url(text: str, labels: Mapping[str, Any]) -> Target:
    try:
        if "=" in text:
            worker, url = worker_and_metrics_url(text)
        else:
            worker = worker_url(text)
            url = _url_by_labels(worker, labels) or worker.metrics_url
    except AddressError as error:
        raise TargetError(str(error)) from None
    return Target(worker.address, url, _label_names(labels))


def _url_by_labels(worker: WorkerUrl, labels: Mapping[str, Any]) -> str | None:
    """Return the metrics URL that labels tell of: on the worker's own host, whoever registered it."""
    told = labels.get("metrics_url")
    if isinstance(told, str) and _host(told) == worker.host:
        return metrics_url(told)
    for name in _PORT_LABELS:
        port = str(labels.get(name, ""))
        if re.fullmatch("[0-9]{1,5}", port):
            return worker.metrics_url_at(int(port))
    return None


def _host(url: str) -> str | None:
    try:
        return host_of(url)
    except AddressError:
        return None


def _label_names(labels: Mapping[str, Any]) -> dict[str, str]:
    """Return labels with names that Prometheus takes, and without its own (`__...`)."""
    return {
        re.sub("[^a-zA-Z0-9_]|^(?=[0-9])", "_", name): str(value)
        for name, value in labels.items()
        if isinstance(name, str)
        and name
        and not name.startswith("__")
        and isinstance(value, str | int | float)
        and not isinstance(value, bool)
        and value != ""
    }
