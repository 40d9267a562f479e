from collections.abc import Mapping
from typing import Any

import pytest

from exporter.fleet.targets import TargetError, apart, distinct, from_file, from_option, from_smg

OPTIONS = {
    "grpc://h:50051": ("grpc://h:50051", "http://h:60051/metrics"),
    "grpcs://h:50051": ("grpcs://h:50051", "http://h:60051/metrics"),
    "grpc://h:60000": ("grpc://h:60000", "http://h:50000/metrics"),
    "GRPC://Host.Example:8001": ("grpc://host.example:8001", "http://host.example:18001/metrics"),
    "grpc://[::1]:8001": ("grpc://[::1]:8001", "http://[::1]:18001/metrics"),
    "grpc://[0:0::1]:8001/": ("grpc://[::1]:8001", "http://[::1]:18001/metrics"),
    "grpc://h:8001@3": ("grpc://h:8001", "http://h:18001/metrics"),
    "http://h:30000": ("http://h:30000", "http://h:30000/metrics"),
    "http://h:30000@0": ("http://h:30000", "http://h:30000/metrics"),
    "https://h/": ("https://h", "https://h/metrics"),
    "https://h/base/": ("https://h/base", "https://h/base/metrics"),
    "grpc://h:8001=http://h:9400": ("grpc://h:8001", "http://h:9400/metrics"),
    "grpc://h:8001@1=https://other:9400/m?a=b=c": ("grpc://h:8001", "https://other:9400/m?a=b=c"),
}


@pytest.mark.parametrize(("text", "expected"), OPTIONS.items(), ids=OPTIONS)
def test_an_option_names_a_worker_and_where_its_metrics_are(text: str, expected: tuple[str, str]) -> None:
    target = from_option(text)
    assert (target.worker_addr, target.metrics_url) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "'' is not a URL of the form scheme://host:port"),
        ("h:8001", "'h:8001' is not a URL of the form scheme://host:port"),
        ("ftp://h:1", "'ftp://h:1' is not a URL that begins with grpc://, grpcs://, http:// or https://"),
        ("grpc://h", "'grpc://h' is not a gRPC worker's URL: scheme, host and port, and nothing more"),
        (
            "grpc://h:1/x",
            "'grpc://h:1/x' is not a gRPC worker's URL: scheme, host and port, and nothing more",
        ),
        ("grpc://h:0", "'grpc://h:0' is not a URL: 0 is not a port from 1 to 65535"),
        ("grpc://h:70000", "'grpc://h:70000' is not a URL: 70000 is not a port from 1 to 65535"),
        ("http://a b:1", "'http://a b:1' is not a URL: 'a b' is not a host name or IP address"),
        ("http://[::g]:1", "'http://[::g]:1' is not a URL: '[::g]' is not a host name or IP address"),
        ("http://user:pw@h:1", "'http://user:pw@h:1' is not a URL of the form scheme://host:port"),
        ("http://h:1?x", "'http://h:1?x' is not a worker's URL: it has a query"),
        ("http://h:1=", "'' is not a URL of the form scheme://host:port"),
        ("http://h:1=grpc://h:2", "'grpc://h:2' is not a URL that begins with http:// or https://"),
    ],
)
def test_what_is_no_target_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(TargetError) as caught:
        from_option(text)
    assert str(caught.value) == reason


SMG: dict[str, tuple[Mapping[str, Any], str]] = {
    "derived": ({}, "http://10.0.0.1:18001/metrics"),
    "metrics_url": ({"metrics_url": "https://10.0.0.1:9/m"}, "https://10.0.0.1:9/m"),
    "metrics_url before a port": (
        {"metrics_url": "http://10.0.0.1:9", "metrics_port": "8"},
        "http://10.0.0.1:9/metrics",
    ),
    "another host's metrics_url": ({"metrics_url": "http://10.0.0.2:9/m"}, "http://10.0.0.1:18001/metrics"),
    "a metrics_url that is none": ({"metrics_url": "what"}, "http://10.0.0.1:18001/metrics"),
    "metrics_port": ({"metrics_port": "9", "prometheus_port": "8"}, "http://10.0.0.1:9/metrics"),
    "prometheus_port": ({"prometheus_port": 8}, "http://10.0.0.1:8/metrics"),
    "a port that is none": ({"metrics_port": "x"}, "http://10.0.0.1:18001/metrics"),
}


@pytest.mark.parametrize(("labels", "url"), SMG.values(), ids=SMG)
def test_labels_say_where_a_workers_metrics_are(labels: Mapping[str, Any], url: str) -> None:
    assert from_smg({"url": "grpc://10.0.0.1:8001", "labels": labels}, "smg").metrics_url == url


def test_smg_tells_more_of_a_worker() -> None:
    worker = {
        "id": "1",
        "url": "http://h:1@2",
        "model_id": "m",
        "worker_type": "prefill",
        "connection_mode": "http",
        "labels": {"team.name": "x", "9": 1, "__secret": "y", "empty": "", "odd": ["z"]},
    }
    target = from_smg(worker, "smg")
    assert target.worker_addr == "http://h:1"
    assert target.labels == {
        "team_name": "x",
        "_9": "1",
        "model_id": "m",
        "worker_type": "prefill",
        "connection_mode": "http",
    }


def test_a_url_without_a_scheme_has_that_of_the_connection_mode() -> None:
    assert from_smg({"url": "h:1", "connection_mode": "grpc"}, "smg").worker_addr == "grpc://h:1"
    assert from_smg({"url": "h:1"}, "smg").worker_addr == "http://h:1"


ZMQ: dict[str, tuple[Mapping[str, Any], str]] = {
    "metrics_port": ({"metrics_port": "9400"}, "http://10.0.0.9:9400/metrics"),
    "prometheus_port": ({"prometheus_port": 9400}, "http://10.0.0.9:9400/metrics"),
    "metrics_url": ({"metrics_url": "https://10.0.0.9:9/m", "metrics_port": 8}, "https://10.0.0.9:9/m"),
}


@pytest.mark.parametrize(("labels", "url"), ZMQ.values(), ids=ZMQ)
@pytest.mark.parametrize("worker", ["ipc:///tmp/smg-zmq/engine-31000", "ipc:///tmp/smg-zmq/engine-31000@1"])
def test_a_zmq_workers_metrics_are_on_the_gateways_host(
    worker: str, labels: Mapping[str, Any], url: str
) -> None:
    target = from_smg({"url": worker, "connection_mode": "zmq", "labels": labels}, "10.0.0.9")
    assert (target.worker_addr, target.metrics_url) == ("ipc:///tmp/smg-zmq/engine-31000", url)
    assert target.labels["connection_mode"] == "zmq"


def test_a_zmq_worker_without_a_scheme_is_one_too() -> None:
    worker = {"url": "/tmp/engine", "connection_mode": "zmq", "labels": {"metrics_port": 9}}  # noqa: S108 - a name only
    target = from_smg(worker, "::1")
    assert (target.worker_addr, target.metrics_url) == ("ipc:///tmp/engine", "http://[::1]:9/metrics")


@pytest.mark.parametrize("labels", [{}, {"metrics_url": "http://10.0.0.8:9/m"}, {"metrics_port": "x"}])
def test_a_zmq_worker_without_a_metrics_port_is_skipped_and_the_reason_says_what_to_set(
    labels: Mapping[str, str],
) -> None:
    with pytest.raises(TargetError) as caught:
        from_smg({"url": "ipc:///tmp/engine", "labels": labels}, "10.0.0.9")
    assert str(caught.value) == (
        "'ipc:///tmp/engine' has no port from which to derive that of its metrics: "
        "give the worker a label metrics_port, or metrics_url with the gateway's host 10.0.0.9"
    )


@pytest.mark.parametrize("url", ["ipc://", 'ipc:///a"b', "ipc:///a\nb"])
def test_a_zmq_worker_whose_address_is_no_label_is_skipped(url: str) -> None:
    with pytest.raises(TargetError, match="is not a ZMQ worker's URL of the form ipc:///path"):
        from_smg({"url": url, "labels": {"metrics_port": 9}}, "h")


@pytest.mark.parametrize(
    "worker",
    [None, {}, {"url": 1}, {"url": "zmq://h:1"}, {"url": "grpc://h:1", "labels": {"metrics_port": "99999"}}],
)
def test_what_is_no_worker_of_smg_is_a_target_error(worker: object) -> None:
    with pytest.raises(TargetError):
        from_smg(worker, "smg")


FILE: dict[str, tuple[str, Mapping[str, str], str, str]] = {
    "a worker": ("grpc://h:8001", {"metrics_port": "9"}, "grpc://h:8001", "http://h:9/metrics"),
    "an exporter": ("h:9400", {"rack": "a"}, "http://h:9400", "http://h:9400/metrics"),
    "an exporter that knows its worker": (
        "h:9400",
        {"__scheme__": "https", "__metrics_path__": "/m", "worker_addr": "grpc://h:8001@1"},
        "grpc://h:8001",
        "https://h:9400/m",
    ),
}


@pytest.mark.parametrize(("text", "labels", "worker", "url"), FILE.values(), ids=FILE)
def test_a_file_names_workers_or_as_for_prometheus_exporters(
    text: str, labels: Mapping[str, str], worker: str, url: str
) -> None:
    target = from_file(text, labels)
    assert (target.worker_addr, target.metrics_url) == (worker, url)
    assert target.labels == {name: value for name, value in labels.items() if name[:2] != "__"}


@pytest.mark.parametrize("text", [1, "", "h:x", "/path", "grpc://h"])
def test_what_is_no_target_of_a_file_is_a_target_error(text: object) -> None:
    with pytest.raises(TargetError):
        from_file(text, {})


def test_each_metrics_url_and_each_worker_is_there_once() -> None:
    texts = [
        "grpc://h:1@0",
        "grpc://h:1@1",
        "grpc://h:1=http://h:5",
        "grpc://i:1=http://h:10001/metrics",
        "http://j",
    ]
    kept = distinct(from_option(text) for text in texts)
    assert [target.worker_addr for target in kept] == ["grpc://h:1", "http://j"]


def test_a_worker_with_the_metrics_url_of_another_one_is_an_error() -> None:
    ranks = [from_option(f"grpc://h:1@{rank}") for rank in range(2)]
    other, bad = from_option("grpc://h:2=http://h:9400/metrics"), TargetError("no url")
    mistaken = from_option("grpc://h:3=http://h:9400/metrics")
    *kept, error = apart([*ranks, other, bad, mistaken])
    assert kept == [*ranks, other, bad]
    assert str(error) == "'grpc://h:3' has the metrics URL of grpc://h:2, http://h:9400/metrics"
