"""Targets: which workers to scrape, and at which URLs. Pure decisions."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from exporter.addresses import (
    AddressError,
    WorkerUrl,
    host_of,
    ipc_address,
    metrics_url,
    worker_and_metrics_url,
    worker_url,
)

_PORT_LABELS = ("metrics_port", "prometheus_port")
_SMG_FACTS = ("model_id", "worker_type", "runtime_type", "connection_mode")
_IMPLIED_SCHEMES = {"grpc": "grpc", "http": "http", "zmq": "ipc"}
"""SMG's connection mode -> the scheme of a URL without one."""


class TargetError(ValueError):
    """An entry of a source that names no target; the message is one line with the reason."""


@dataclass(frozen=True)
class Target:
    """One metrics endpoint to scrape."""

    worker_addr: str
    """The address of the worker, which identifies it: scheme, host and port, without a rank."""
    metrics_url: str
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Other facts about the worker, by names that are valid for Prometheus."""


def attempt(make: Callable[[], Target]) -> Target | TargetError:
    """Return what `make` returns, or the TargetError that it raises."""
    try:
        return make()
    except TargetError as error:
        return error


def from_option(text: str) -> Target:
    """Return the target that an option `WORKER[=METRICS]` names; raises TargetError if it names none."""
    try:
        worker, url = worker_and_metrics_url(text)
    except AddressError as error:
        raise TargetError(str(error)) from None
    return Target(worker.address, url)


def from_smg(worker: object, gateway: str) -> Target:
    """Return the target of a worker in SMG's answer to `GET /workers`; raises TargetError if it has none.

    `gateway` is the host of SMG, and so of the ZMQ workers (`ipc://`) that it drives.
    """
    if not isinstance(worker, dict) or not isinstance(worker.get("url"), str):
        raise TargetError("a worker has no url")
    text = worker["url"]
    if "://" not in text:
        text = f"{_IMPLIED_SCHEMES.get(str(worker.get('connection_mode')), 'http')}://{text}"
    facts = {name: worker[name] for name in _SMG_FACTS if name in worker}
    given = worker.get("labels")
    labels = {**(given if isinstance(given, dict) else {}), **facts}
    return _from_ipc(text, labels, gateway) if text.startswith("ipc://") else _from_url(text, labels)


def from_file(text: object, labels: Mapping[str, Any]) -> Target:
    """Return the target of an entry of a file_sd file, with its group's labels; raises TargetError if it has none.

    An entry with a scheme is a worker's URL. An entry without is the address of a metrics endpoint, as for Prometheus:
    the labels `__scheme__` and `__metrics_path__` complete its URL, and `worker_addr` names the worker.
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


def apart(found: Iterable[Target | TargetError]) -> list[Target | TargetError]:
    """Return the entries of a source; a target with the metrics URL of another worker is an error."""
    workers: dict[str, str] = {}

    def check(target: Target) -> Target | TargetError:
        worker = workers.setdefault(target.metrics_url, target.worker_addr)
        if worker == target.worker_addr:
            return target
        return TargetError(f"{target.worker_addr!r} has the metrics URL of {worker}, {target.metrics_url}")

    return [check(entry) if isinstance(entry, Target) else entry for entry in found]


def distinct(targets: Iterable[Target]) -> tuple[Target, ...]:
    """Return the targets, but none whose metrics URL or worker an earlier one has, as the ranks of a server do."""
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


def _from_ipc(text: str, labels: Mapping[str, Any], host: str) -> Target:
    try:
        address = ipc_address(text)
        url = _url_by_labels(WorkerUrl("http", host, None, ""), labels)
    except AddressError as error:
        raise TargetError(str(error)) from None
    if url is None:
        raise TargetError(
            f"{text!r} has no port from which to derive that of its metrics: give the worker a label metrics_port, "
            f"or metrics_url with the gateway's host {host}"
        )
    return Target(address, url, _label_names(labels))


def _url_by_labels(worker: WorkerUrl, labels: Mapping[str, Any]) -> str | None:
    """Return the metrics URL that labels name, if any. Only one on the worker's own host is believed."""
    url = labels.get("metrics_url")
    if isinstance(url, str) and _host(url) == worker.host:
        return metrics_url(url)
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
    """Return the labels under names that are valid for Prometheus, without its internal ones (`__...`)."""
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
