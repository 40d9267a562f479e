"""The Kubernetes manifests: right by the schemas, consistent with each other, and the sidecar works as they say."""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from copy import deepcopy
from functools import cache
from importlib import import_module
from operator import itemgetter
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest
import yaml

from exporter.addresses import FLEET_PORT, NODE_PORT, derived_metrics_port
from exporter.options.commands import ALL
from exporter.options.option import ENV_PREFIX
from exporter.paths import FLEET_METRICS, FLEET_OWN_METRICS
from tests.support.daemon import ROOT, Daemon, check_log
from tests.support.peers import program
from tests.support.waiting import eventually
from tests.support.writers import writer

FOLDER = ROOT / "config" / "kubernetes"
KUSTOMIZATION = "kustomization.yaml"
OVERLAYS = ["sidecar", "separate-pids", "fleet", "node"]
WORKER, FLEET, NODE = "base/worker.yaml", "overlays/fleet/fleet.yaml", "overlays/node/node.yaml"
RULES = "base/prometheusrule.yaml"
OLDEST, NEWEST = "1.29", "1.37"
"""Kubernetes' versions; native sidecars are on by default since the first."""

POD_IP = "127.0.0.1"
FIELDS = {"status.podIP": POD_IP, "spec.nodeName": "gpu-1"}
OPERATORS_LABEL = "release: kube-prometheus-stack"
"""What the Helm chart kube-prometheus-stack has its operator select by, under the chart's usual name."""

Manifest = dict[str, Any]
"""An object of Kubernetes, as its YAML has it."""


def documents(name: str) -> list[Manifest]:
    return list(yaml.safe_load_all((FOLDER / name).read_text("utf-8")))


def named_as(*fields: str) -> set[str]:
    """Return the files that kustomizations name in these fields."""
    found = set()
    for path in FOLDER.rglob(KUSTOMIZATION):
        (it,) = documents(str(path.relative_to(FOLDER)))
        for field in fields:
            found |= {str((path.parent / name).relative_to(FOLDER)) for name in it.get(field, ())}
    return found


FILES = sorted(named_as("resources"))


def of_kind(kind: str) -> list[Manifest]:
    """Return the objects of a kind from all files."""
    return [it for name in FILES for it in documents(name) if it["kind"] == kind]


@cache
def rendered(folder: str) -> Sequence[Manifest]:
    """Return the objects that Kustomize makes of a folder."""
    words = [program("kubectl"), "kustomize", str(FOLDER / folder)]
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return list(yaml.safe_load_all(result.stdout))


def pod(objects: Iterable[Manifest], name: str = "sglang-worker") -> Manifest:
    """Return the pod that the Deployment or DaemonSet of this name makes."""
    kinds = ("Deployment", "DaemonSet")
    deployments = [it for it in objects if it["kind"] in kinds and it["metadata"]["name"] == name]
    (deployment,) = deployments
    template: Manifest = deployment["spec"]["template"]
    return template


def sidecar(objects: Iterable[Manifest]) -> Manifest:
    (it,) = pod(objects)["spec"]["initContainers"]
    assert it["restartPolicy"] == "Always"
    container: Manifest = it
    return container


def environment(container: Manifest) -> dict[str, str]:
    """Return a container's environment, as the kubelet fills it in, but for what is secret."""
    values = {}
    for each in container["env"]:
        source = each.get("valueFrom", {})
        if "secretKeyRef" not in source:
            values[each["name"]] = each.get("value") or FIELDS[source["fieldRef"]["fieldPath"]]
    return values


OURS = {
    WORKER: sidecar(documents(WORKER)),
    FLEET: pod(documents(FLEET), "smg-exporter-fleet")["spec"]["containers"][0],
    NODE: pod(documents(NODE), "smg-exporter-node")["spec"]["containers"][0],
}
"""Our container, by file."""


# --- The schemas ---


def validate(objects: Iterable[Manifest], version: str) -> None:
    """Raise where an object is none that this version of Kubernetes takes; the operator's kinds have no schema here."""
    kubernetes_validate = import_module("kubernetes_validate")  # which has no types
    for it in objects:
        if not it["apiVersion"].startswith("monitoring.coreos.com/"):
            kubernetes_validate.validate(it, version, strict=True)


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("name", FILES)
def test_the_objects_are_valid(name: str, version: str) -> None:
    validate(documents(name), version)


def test_the_schemas_would_find_a_misspelt_field() -> None:
    kubernetes_validate = import_module("kubernetes_validate")  # which has no types
    objects = documents(WORKER)
    pod(objects)["spec"]["shareProcessNamespaces"] = True
    with pytest.raises(kubernetes_validate.ValidationError):
        validate(objects, NEWEST)


# --- Kustomize ---


def test_each_file_is_of_a_kustomization() -> None:
    files = {str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.yaml") if path.name != KUSTOMIZATION}
    assert files == named_as("resources", "patchesStrategicMerge")
    assert sorted(path.name for path in (FOLDER / "overlays").iterdir()) == sorted(OVERLAYS)


@pytest.mark.peer
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_kustomize_makes_is_valid(overlay: str, version: str) -> None:
    validate(rendered(f"overlays/{overlay}"), version)


def names(objects: Iterable[Manifest]) -> set[tuple[str, str]]:
    return {(it["kind"], it["metadata"]["name"]) for it in objects}


@pytest.mark.peer
def test_prometheus_scrapes_the_workers_or_the_fleet() -> None:
    base = names(rendered("base"))
    assert ("PrometheusRule", "smg-exporter") in base
    assert names(rendered("overlays/sidecar")) - base == {("PodMonitor", "sglang-worker")}
    assert names(rendered("overlays/separate-pids")) == names(rendered("overlays/sidecar"))
    kinds = ["Deployment", "NetworkPolicy", "Service", "ServiceMonitor"]
    assert names(rendered("overlays/fleet")) - base == {(kind, "smg-exporter-fleet") for kind in kinds}
    kinds = ["DaemonSet", "NetworkPolicy", "PodMonitor"]
    assert names(rendered("overlays/node")) == {(kind, "smg-exporter-node") for kind in kinds}


@pytest.mark.peer
def test_separate_pids_differ_in_pids_only() -> None:
    shared, separate = (deepcopy(rendered(f"overlays/{overlay}")) for overlay in ("sidecar", "separate-pids"))
    assert pod(shared)["spec"].pop("shareProcessNamespace") is True
    assert pod(separate)["spec"].pop("shareProcessNamespace") is False
    sidecar(separate)["env"].remove({"name": "SMG_EXPORTER_LIVENESS", "value": "off"})
    for it in (shared, separate):  # Kustomize puts what it adds first
        sidecar(it)["env"].sort(key=itemgetter("name"))
    assert shared == separate


@pytest.mark.peer
def test_the_documents_example_changes_images_model_and_namespace(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "deploy.md").read_text("utf-8")
    (example,) = re.findall(r"^```yaml\n(# mine/kustomization.yaml\n.*?)^```", text, re.MULTILINE | re.DOTALL)
    shutil.copytree(FOLDER, tmp_path / "kubernetes")
    mine = tmp_path / "kubernetes" / "overlays" / "mine"
    for part in re.split(r"^---\n", example, flags=re.MULTILINE):
        file = mine.parent / part.splitlines()[0].removeprefix("# ")
        file.parent.mkdir(exist_ok=True)
        file.write_text(part)
    objects = rendered(str(mine))
    validate(objects, NEWEST)
    (worker,) = pod(objects)["spec"]["containers"]
    changed = {sidecar(objects)["image"], worker["image"], environment(worker)["MODEL"]}
    assert not changed & {
        OURS[WORKER]["image"],
        *environment(pod(documents(WORKER))["spec"]["containers"][0]).values(),
    }
    assert {it["metadata"]["namespace"] for it in objects} == {"inference"}


# --- Rules ---


def as_prometheus_rule(*files: Path) -> str:
    """Return rule files as an object of the Prometheus operator."""
    groups = [file.read_text("utf-8").partition("\ngroups:\n")[2] for file in files]
    head = f"""\
# ../../prometheus/*.rules.yml for the Prometheus operator, made by pytest --update-golden tests/deploy: do not edit.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: smg-exporter
  labels:
    # What the operator's selector asks for: docs/deploy.md, "The operator's selectors".
    {OPERATORS_LABEL}
spec:
  groups:
"""
    return head + indent("\n".join(groups), "  ")


def test_the_rules_are_those_of_prometheus(pytestconfig: pytest.Config) -> None:
    files = sorted(
        (ROOT / "config" / "prometheus").glob("*.rules.yml"), reverse=True
    )  # recording rules first
    expected = as_prometheus_rule(*files)
    if pytestconfig.getoption("--update-golden"):
        (FOLDER / RULES).write_text(expected)
    assert (FOLDER / RULES).read_text("utf-8") == expected
    (it,) = documents(RULES)
    assert it["spec"]["groups"] == [
        group for file in files for group in yaml.safe_load(file.read_text("utf-8"))["groups"]
    ]


@pytest.mark.parametrize("kind", ["PodMonitor", "ServiceMonitor", "PrometheusRule"])
def test_the_operator_finds_what_is_for_it(kind: str) -> None:
    found = of_kind(kind)
    assert found
    for it in found:
        assert [f"{name}: {value}" for name, value in it["metadata"]["labels"].items()] == [OPERATORS_LABEL]
    assert OPERATORS_LABEL in (ROOT / "docs" / "deploy.md").read_text("utf-8")


# --- What belongs together ---


def chosen_by(labels: dict[str, str]) -> list[Manifest]:
    """Return the pods that have these labels."""
    pods = [it["spec"]["template"] for it in (*of_kind("Deployment"), *of_kind("DaemonSet"))]
    return [it["spec"] for it in pods if labels.items() <= it["metadata"]["labels"].items()]


def ports(specs: list[Manifest]) -> dict[str, int]:
    """Return the ports of pods by name."""
    containers = [it for spec in specs for it in (*spec.get("initContainers", ()), *spec["containers"])]
    return {port["name"]: port["containerPort"] for container in containers for port in container["ports"]}


@pytest.mark.parametrize("monitor", of_kind("PodMonitor"), ids=lambda it: it["metadata"]["name"])
def test_the_pod_monitor_finds_its_pods_and_their_port(monitor: Manifest) -> None:
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
def test_a_policy_opens_the_ports_of_its_pods_to_others_and_all_among_them(policy: Manifest) -> None:
    pods = policy["spec"]["podSelector"]
    opened = set()
    for rule in policy["spec"]["ingress"]:
        if "ports" not in rule:
            assert rule["from"] == [{"podSelector": pods}], "every port, to themselves only"
        opened |= {port["port"] for port in rule.get("ports", ())}
    assert opened == set(ports(chosen_by(pods["matchLabels"])).values())


def test_workers_reach_each_other_at_ports_that_nobody_knows_before() -> None:
    (policy,) = [it for it in of_kind("NetworkPolicy") if it["metadata"]["name"] == "sglang-worker"]
    assert [rule for rule in policy["spec"]["ingress"] if "ports" not in rule]


def test_the_annotations_that_are_written_as_a_comment_are_right() -> None:
    text = (FOLDER / WORKER).read_text("utf-8")
    told = dict(re.findall(r"# +prometheus\.io/(\w+): \"?([^\"\n]+)\"?", text))
    (port,) = OURS[WORKER]["ports"]
    assert told == {"scrape": "true", "port": str(port["containerPort"]), "path": "/metrics"}


# --- The worker ---


def test_the_worker_has_all_that_it_needs() -> None:
    spec = pod(documents(WORKER))["spec"]
    (worker,) = spec["containers"]
    (claim,) = of_kind("PersistentVolumeClaim")
    volumes = {it["name"]: it for it in spec["volumes"]}
    mounts = {it["name"]: it["mountPath"] for it in worker["volumeMounts"]}
    assert mounts.keys() == volumes.keys()
    assert volumes["models"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert environment(worker)["HF_HOME"] == mounts["models"]
    assert "--model-path=$(MODEL)" in worker["args"]
    assert environment(worker)["MODEL"]
    (secret,) = [it["valueFrom"]["secretKeyRef"] for it in worker["env"] if it["name"] == "HF_TOKEN"]
    said = f"kubectl create secret generic {secret['name']} --from-literal={secret['key']}="
    assert said in (FOLDER / WORKER).read_text("utf-8")


def test_what_it_writes_into_memory_fits_its_limit() -> None:
    spec = pod(documents(WORKER))["spec"]
    (worker,) = spec["containers"]
    written = [it["emptyDir"] for it in spec["volumes"] if "emptyDir" in it]
    assert {it["medium"] for it in written} == {"Memory"}
    assert sum(size(it["sizeLimit"]) for it in written) < size(worker["resources"]["requests"]["memory"])
    assert size(worker["resources"]["requests"]["memory"]) <= size(worker["resources"]["limits"]["memory"])


def size(text: str) -> int:
    """Return a quantity of memory in bytes."""
    return int(text[:-2]) << {"Mi": 20, "Gi": 30}[text[-2:]]


# --- The sidecar ---


@pytest.mark.parametrize("name", OURS)
def test_it_is_as_restricted_as_can_be(name: str) -> None:
    context = OURS[name]["securityContext"]
    looks_into_others = name == NODE
    added = {"add": ["SYS_PTRACE", "DAC_READ_SEARCH"]} if looks_into_others else {}
    assert context.get("runAsNonRoot", False) is not looks_into_others
    assert (context["runAsUser"] == 0) is looks_into_others, "only root gets capabilities"
    assert context["readOnlyRootFilesystem"] is True
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"], **added}
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert OURS[name]["resources"]["limits"].keys() == {"memory"}


@pytest.mark.parametrize("name", OURS)
def test_its_variables_are_options(name: str) -> None:
    options = {name.removeprefix(ENV_PREFIX).lower() for name in environment(OURS[name])}
    assert options <= ALL.keys()


def test_only_liveness_is_probed() -> None:
    probes = {key for key in OURS[WORKER] if key.endswith("Probe")}
    assert probes == {"livenessProbe"}


def test_it_shares_the_directory_in_memory_and_knows_the_port() -> None:
    exporter, spec = OURS[WORKER], pod(documents(WORKER))["spec"]
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
    assert OURS[FLEET]["ports"] == [{"name": "metrics", "containerPort": FLEET_PORT}]


def test_the_nodes_exporter_sees_other_pods_at_its_default_port() -> None:
    assert OURS[NODE]["ports"] == [{"name": "metrics", "containerPort": NODE_PORT}]
    assert pod(documents(NODE), "smg-exporter-node")["spec"]["hostPID"] is True


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
def started(container: Manifest, directory: Path, grpc_port: int) -> Iterator[Daemon]:
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


@pytest.mark.parametrize(
    "overlay",
    ["", pytest.param("overlays/separate-pids", marks=pytest.mark.peer)],
    ids=["base", "separate-pids"],
)
def test_it_serves_the_worker_when_run_as_the_manifest_says(overlay: str, shared: Path) -> None:
    objects = rendered(overlay) if overlay else documents(WORKER)
    container = sidecar(objects)
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
            assert knows is pod(objects)["spec"]["shareProcessNamespace"]


def grpc_port_with_free_metrics_port() -> int:
    """Return a gRPC port whose metrics port nobody listens on now."""
    for port in range(20001, 30000):
        with suppress(OSError), socket.create_server((POD_IP, derived_metrics_port(port))):
            return port
    raise AssertionError("no port is free")
