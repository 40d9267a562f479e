"""The Kubernetes manifests: right by the schemas, consistent with each other, and the sidecar works as they say."""

import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.addresses import FLEET_PORT, derived_metrics_port
from exporter.options import ALL, ENV_PREFIX
from exporter.paths import FLEET_METRICS, FLEET_OWN_METRICS
from tests.support.daemon import ROOT, Daemon, check_log
from tests.support.waiting import eventually
from tests.support.writers import writer

FOLDER = ROOT / "config" / "kubernetes"
FILES = sorted(FOLDER.glob("*.yaml"))
OLDEST, NEWEST = "1.29", "1.37"
"""Kubernetes' versions; native sidecars are on by default since the first."""

POD_IP = "127.0.0.1"


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / name).read_text("utf-8")))


def of_kind(kind: str) -> list[dict[str, Any]]:
    """Return the objects of a kind from all files."""
    return [it for path in FILES for it in documents(path.name) if it["kind"] == kind]


def pod(name: str) -> dict[str, Any]:
    """Return the pod that a file's Deployment makes."""
    (deployment,) = [it for it in documents(name) if it["kind"] == "Deployment"]
    template: dict[str, Any] = deployment["spec"]["template"]
    return template


def sidecar(name: str) -> dict[str, Any]:
    (it,) = pod(name)["spec"]["initContainers"]
    assert it["restartPolicy"] == "Always"
    container: dict[str, Any] = it
    return container


def environment(container: dict[str, Any]) -> dict[str, str]:
    """Return a container's environment, as the kubelet fills it in."""
    fields = {"status.podIP": POD_IP}
    return {
        each["name"]: each.get("value") or fields[each["valueFrom"]["fieldRef"]["fieldPath"]]
        for each in container["env"]
    }


WORKERS = ["worker.yaml", "worker-separate-pids.yaml"]
OURS = {
    **{name: sidecar(name) for name in WORKERS},
    "fleet.yaml": pod("fleet.yaml")["spec"]["containers"][0],
}
"""Our container, by file."""


# --- The schemas ---


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_objects_are_valid(path: Path, version: str) -> None:
    kubernetes_validate = import_module("kubernetes_validate")  # which has no types
    for document in documents(path.name):
        if not document["apiVersion"].startswith("monitoring.coreos.com/"):
            kubernetes_validate.validate(document, version, strict=True)


def test_the_schemas_would_find_a_misspelt_field() -> None:
    kubernetes_validate = import_module("kubernetes_validate")  # which has no types
    (deployment,) = documents("worker.yaml")
    deployment["spec"]["template"]["spec"]["shareProcessNamespaces"] = True
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, NEWEST, strict=True)


# --- What belongs together ---


def chosen_by(labels: dict[str, str]) -> list[dict[str, Any]]:
    """Return the pods that have these labels."""
    pods = [deployment["spec"]["template"] for deployment in of_kind("Deployment")]
    return [it["spec"] for it in pods if labels.items() <= it["metadata"]["labels"].items()]


def ports(specs: list[dict[str, Any]]) -> dict[str, int]:
    """Return the ports of pods by name."""
    containers = [it for spec in specs for it in (*spec.get("initContainers", ()), *spec["containers"])]
    return {port["name"]: port["containerPort"] for container in containers for port in container["ports"]}


def test_the_pod_monitor_finds_its_pods_and_their_port() -> None:
    (monitor,) = of_kind("PodMonitor")
    labels = monitor["spec"]["selector"]["matchLabels"]
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert monitor["spec"]["jobLabel"] in labels
    assert endpoint["path"] == "/metrics"
    assert endpoint["port"] in ports(chosen_by(labels))


def test_the_service_monitor_finds_its_service_and_its_port() -> None:
    (monitor,) = of_kind("ServiceMonitor")
    (service,) = of_kind("Service")
    labels = monitor["spec"]["selector"]["matchLabels"]
    assert labels.items() <= service["metadata"]["labels"].items()
    assert monitor["spec"]["jobLabel"] in labels
    named = {port["name"] for port in service["spec"]["ports"]}
    assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} <= named
    assert [endpoint["path"] for endpoint in monitor["spec"]["endpoints"]] == [
        FLEET_METRICS,
        FLEET_OWN_METRICS,
    ]


def test_the_jobs_are_those_that_the_alerts_look_at() -> None:
    rules = (ROOT / "config" / "prometheus" / "alerts.rules.yml").read_text("utf-8")
    patterns = set(re.findall(r'job=~"([^"]*)"', rules))
    monitors = of_kind("PodMonitor") + of_kind("ServiceMonitor")
    jobs = [next(iter(monitor["spec"]["selector"]["matchLabels"].values())) for monitor in monitors]
    assert patterns
    assert jobs
    assert all(re.fullmatch(pattern, job) for pattern in patterns for job in jobs)


def test_the_service_leads_to_its_pods() -> None:
    (service,) = of_kind("Service")
    (port,) = service["spec"]["ports"]
    assert ports(chosen_by(service["spec"]["selector"]))[port["targetPort"]] == port["port"]


@pytest.mark.parametrize("policy", of_kind("NetworkPolicy"), ids=lambda it: it["metadata"]["name"])
def test_a_policy_opens_the_ports_of_its_pods_and_no_other(policy: dict[str, Any]) -> None:
    opened = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
    assert opened == set(ports(chosen_by(policy["spec"]["podSelector"]["matchLabels"])).values())


@pytest.mark.parametrize("name", WORKERS)
def test_the_annotations_that_are_written_as_a_comment_are_right(name: str) -> None:
    text = (FOLDER / name).read_text("utf-8")
    told = dict(re.findall(r"# +prometheus\.io/(\w+): \"?([^\"\n]+)\"?", text))
    (port,) = sidecar(name)["ports"]
    assert told == {"scrape": "true", "port": str(port["containerPort"]), "path": "/metrics"}


def test_the_variant_differs_in_pids_only() -> None:
    shared, separate = pod("worker.yaml"), pod("worker-separate-pids.yaml")
    assert shared["spec"].pop("shareProcessNamespace") is True
    assert separate["spec"].pop("shareProcessNamespace") is False
    separate["spec"]["initContainers"][0]["env"].remove({"name": "SMG_EXPORTER_LIVENESS", "value": "off"})
    assert shared == separate


# --- The sidecar ---


@pytest.mark.parametrize("name", OURS)
def test_it_is_as_restricted_as_can_be(name: str) -> None:
    context = OURS[name]["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] > 0
    assert context["readOnlyRootFilesystem"] is True
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert OURS[name]["resources"]["limits"].keys() == {"memory"}


@pytest.mark.parametrize("name", OURS)
def test_its_variables_are_options(name: str) -> None:
    options = {name.removeprefix(ENV_PREFIX).lower() for name in environment(OURS[name])}
    assert options <= ALL.keys()


@pytest.mark.parametrize("name", WORKERS)
def test_only_liveness_is_probed(name: str) -> None:
    probes = {key for key in sidecar(name) if key.endswith("Probe")}
    assert probes == {"livenessProbe"}


@pytest.mark.parametrize("name", WORKERS)
def test_it_shares_the_directory_in_memory_and_knows_the_port(name: str) -> None:
    exporter, spec = sidecar(name), pod(name)["spec"]
    (worker,) = spec["containers"]
    directory = environment(exporter)["SMG_EXPORTER_MULTIPROC_DIR"]
    assert environment(worker)["PROMETHEUS_MULTIPROC_DIR"] == directory
    (mount,) = exporter["volumeMounts"]
    assert mount == {"name": "metrics", "mountPath": directory, "readOnly": True}
    assert {"name": "metrics", "mountPath": directory} in worker["volumeMounts"]
    (volume,) = [it["emptyDir"] for it in spec["volumes"] if it["name"] == "metrics"]
    assert volume["medium"] == "Memory"
    assert volume["sizeLimit"]
    grpc_port = int(environment(exporter)["SMG_EXPORTER_GRPC_PORT"])
    assert f"--port={grpc_port}" in worker["args"]
    assert worker["ports"][0]["containerPort"] == grpc_port
    assert exporter["ports"] == [{"name": "metrics", "containerPort": derived_metrics_port(grpc_port)}]


def test_the_fleets_port_is_its_default() -> None:
    assert OURS["fleet.yaml"]["ports"] == [{"name": "metrics", "containerPort": FLEET_PORT}]


# --- The sidecar as a process ---


def as_user(uid: int) -> dict[str, Any]:
    """Return what has subprocess run as that user: nothing where we may not, or where it could not read our code."""
    if os.getuid() != 0:
        return {}
    user: dict[str, Any] = {"user": uid, "group": uid, "extra_groups": []}
    words = [sys.executable, "-c", "import exporter.cli"]
    try:
        code = subprocess.run(words, cwd=ROOT, check=False, capture_output=True, **user).returncode
    except PermissionError:
        return {}
    return user if code == 0 else {}


@pytest.fixture(name="shared")
def _shared() -> Iterator[Path]:
    """Give a directory that others may read, as an emptyDir; pytest's own are for its user only."""
    with tempfile.TemporaryDirectory(prefix="sidecar-") as name:
        Path(name).chmod(0o755)
        (Path(name) / "metrics").mkdir()
        yield Path(name) / "metrics"


@contextmanager
def started(container: dict[str, Any], directory: Path, grpc_port: int) -> Iterator[Daemon]:
    """Run the sidecar: its user, its environment and no other, at another place and port."""
    (mount,) = container["volumeMounts"]
    replaced = {mount["mountPath"]: str(directory), "8001": str(grpc_port)}
    variables = {name: replaced.get(value, value) for name, value in environment(container).items()}
    log = directory.with_name("log")
    with log.open("wb") as stderr:
        popen = subprocess.Popen(
            [sys.executable, "-m", "exporter", *container.get("args", ())],
            cwd="/",
            env={
                "PYTHONPATH": str(ROOT),
                "PYTHONDONTWRITEBYTECODE": "1",
                "HOME": "/nonexistent",
                **variables,
            },
            stderr=stderr,
            **as_user(container["securityContext"]["runAsUser"]),
        )
    it = Daemon(popen, log, POD_IP, derived_metrics_port(grpc_port))
    try:
        eventually(lambda: it.said("listening") or popen.poll() is not None, "the sidecar listens")
        assert popen.poll() is None, it.log
        yield it
        popen.terminate()
        assert it.wait() == 0
    finally:
        popen.kill()
        popen.wait()
    check_log(it.log, "json")


@pytest.mark.parametrize("name", WORKERS)
def test_it_serves_the_worker_when_run_as_the_manifest_says(name: str, shared: Path) -> None:
    container = sidecar(name)
    grpc_port = grpc_port_with_free_metrics_port()
    probe = container["livenessProbe"]["httpGet"]
    with started(container, shared, grpc_port) as exporter:
        assert probe["port"] == container["ports"][0]["name"]
        assert exporter.get(probe["path"]).status == 200, "alive before the worker is"
        with writer(shared) as process:
            process.set("sglang:load", 5)
            served = eventually(
                lambda: [sample for sample in exporter.scrape().samples if sample.name == "sglang:load"],
                "the worker's gauge",
            )
            assert [sample.labels["worker_addr"] for sample in served] == [f"grpc://{POD_IP}:{grpc_port}"]
            knows = "smg_exporter_worker_up" in exporter.scrape().names
            assert knows is pod(name)["spec"]["shareProcessNamespace"]


def grpc_port_with_free_metrics_port() -> int:
    """Return a gRPC port whose metrics port nobody listens on now."""
    for port in range(20001, 30000):
        with suppress(OSError), socket.create_server((POD_IP, derived_metrics_port(port))):
            return port
    raise AssertionError("no port is free")
