"""The systemd units: right by systemd's own checkers, and what they say are options of ours."""

import os
import re
import shlex
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest
import yaml

from exporter import cli
from exporter.addresses import derived_metrics_port
from exporter.options.commands import ALL, COMMANDS
from exporter.options.option import ENV_PREFIX, described
from exporter.options.sources import load
from exporter.options.worker import ServeOptions
from tests.support.daemon import ROOT
from tests.support.peers import program

FOLDER = ROOT / "systemd"
WORKER, SOCKET, FLEET = "smg-exporter@.service", "smg-exporter@.socket", "smg-exporter-fleet.service"
NODE = "smg-exporter-node.service"
SERVICES = [WORKER, FLEET, NODE]
INSTANCE = "8001"
THRESHOLD = 15
"""Tenths of systemd's exposure level, from 0 to 100; what it takes for granted is 92 to 96."""


def assignments(name: str) -> dict[str, list[str]]:
    """Return what a unit says, by name, for our instance."""
    found = defaultdict(list)
    for line in (FOLDER / name).read_text("utf-8").splitlines():
        if match := re.fullmatch(r"(\w+)=(.*)", line):
            found[match[1]].append(match[2].replace("%i", INSTANCE))
    return found


def variables(text: str) -> dict[str, str]:
    """Return our variables that a text sets, those in comments too."""
    return dict(re.findall(rf"^#? *(?:Environment=)?({ENV_PREFIX}\w+)=(.*)$", text, re.MULTILINE))


def generated(tmp_path: Path, *enabled: str) -> dict[str, str]:
    """Run the generator where these sockets are enabled; return what it says by unit."""
    wants = tmp_path / "etc" / "systemd" / "system" / "sockets.target.wants"
    wants.mkdir(parents=True)
    for name in enabled:
        (wants / name).symlink_to(FOLDER / SOCKET)
    script = (FOLDER / "smg-exporter-generator").read_text("utf-8").replace("/etc/", f"{tmp_path}/etc/")
    out = tmp_path / "generator"
    out.mkdir()
    subprocess.run(["sh", "-c", script, "generator", out], check=True)
    return {file.parent.name.removesuffix(".d"): file.read_text() for file in out.glob("*/*.conf")}


@pytest.fixture(name="installed")
def _installed(tmp_path: Path) -> dict[str, Path]:
    """Give the units as they are installed, but for the program: its path is that of a program that is there."""
    units = {}
    for name in (*SERVICES, SOCKET):
        text = (FOLDER / name).read_text("utf-8")
        units[name] = tmp_path / name.replace("@", f"@{INSTANCE}")
        units[name].write_text(text.replace("/opt/smg-exporter/bin/smg-exporter", "/bin/true"))
    drop_in = units[SOCKET].with_name(f"{units[SOCKET].name}.d") / "port.conf"
    drop_in.parent.mkdir()
    drop_in.write_text(generated(tmp_path, units[SOCKET].name)[units[SOCKET].name])
    return units


def verify(*units: Path) -> "subprocess.CompletedProcess[str]":
    """Run systemd's checker on installed units, and their drop-ins."""
    return subprocess.run(
        [program("systemd-analyze"), "verify", *map(str, units)],
        env=os.environ | {"SYSTEMD_UNIT_PATH": f"{units[0].parent}:"},  # and its own, after the colon
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.peer
def test_systemd_has_no_complaint(installed: dict[str, Path]) -> None:
    result = verify(*installed.values())
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.peer
def test_systemd_would_complain(installed: dict[str, Path]) -> None:
    unit = installed[WORKER]
    unit.write_text(unit.read_text().replace("ProtectHome=yes", "ProtectHome=perhaps"))
    assert verify(unit).stderr


@pytest.mark.peer
@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_exposed_to_little(installed: dict[str, Path], name: str) -> None:
    threshold = THRESHOLD + 5 * (name == NODE)  # two capabilities cost it as much
    words = [program("systemd-analyze"), "security", "--offline=true", f"--threshold={threshold}"]
    result = subprocess.run([*words, str(installed[name])], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


@pytest.mark.peer
def test_the_exporters_user_is_in_the_group_of_the_workers(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    words = [
        program("systemd-sysusers"),
        f"--root={tmp_path}",
        str(FOLDER / "smg-exporter.sysusers.conf"),
    ]
    subprocess.run(words, check=True, capture_output=True)
    groups = dict(re.findall(r"^(.+):.*:\d+:(.*)$", (tmp_path / "etc" / "group").read_text(), re.MULTILINE))
    assert groups["sglang"] == "smg-exporter"
    assert assignments(WORKER)["User"] == ["smg-exporter"]


@pytest.mark.parametrize("name", SERVICES)
def test_the_command_line_can_be_given(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, *words = shlex.split(assignments(name)["ExecStart"][0])
    monkeypatch.setenv(f"{ENV_PREFIX}MULTIPROC_DIR", "/run/sglang")
    monkeypatch.setenv(f"{ENV_PREFIX}WORKER", "grpc://localhost:8001")
    known, rest = cli._parser(ALL.values()).parse_known_args(words)
    given = {key: value for key, value in vars(known).items() if key in ALL}
    options = COMMANDS[cli._command(rest)].options
    assert given.keys() <= described(options).keys()
    assert getattr(load(options, given), "grpc_port", None) == (int(INSTANCE) if name == WORKER else None)


@pytest.mark.parametrize("name", [*SERVICES, "smg-exporter.env"])
def test_each_variable_is_an_option_with_a_value_that_is_allowed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = variables((FOLDER / name).read_text("utf-8"))
    assert told
    for variable, value in told.items():
        assert variable.removeprefix(ENV_PREFIX).lower() in ALL, variable
        monkeypatch.setenv(variable, value)
    load(ServeOptions, {"grpc_port": INSTANCE, "multiproc_dir": "/run/sglang"})


def test_what_the_example_says_is_the_default_is_so() -> None:
    told = variables((FOLDER / "smg-exporter.env").read_text("utf-8"))
    defaults = load(ServeOptions, {"grpc_port": INSTANCE, "multiproc_dir": "/x"})
    for name in ("WHEN_WORKER_DOWN", "LIVENESS", "LOG_LEVEL", "LOG_FORMAT"):
        assert told[ENV_PREFIX + name] == getattr(defaults, name.lower())
    assert told[f"{ENV_PREFIX}LISTEN_PORT"] == str(defaults.metrics_port)


def test_worker_and_exporter_speak_of_one_directory() -> None:
    (directory,) = [it.partition("=")[2] for it in assignments(WORKER)["Environment"]]
    drop_in = assignments("sglang-metrics.conf")
    assert drop_in["Environment"] == [f"PROMETHEUS_MULTIPROC_DIR={directory}"]
    assert [f"/run/{it}" for it in drop_in["RuntimeDirectory"]] == [directory]


def test_the_workers_processes_and_directory_can_be_seen() -> None:
    for name in (WORKER, NODE):
        unit = assignments(name)
        assert unit["ProtectProc"] == ["default"], "other values hide other users' processes"
        assert unit["ProcSubset"] == ["all"], "the other hides /proc/stat"
        assert ("DynamicUser" in unit) is (name == NODE)
        assert "PrivateUsers" not in unit


def test_the_node_has_the_capabilities_that_it_needs_and_no_other() -> None:
    unit = assignments(NODE)
    assert (
        unit["AmbientCapabilities"] == unit["CapabilityBoundingSet"] == ["CAP_SYS_PTRACE CAP_DAC_READ_SEARCH"]
    )


@pytest.mark.parametrize("name", SERVICES)
def test_systemd_is_told_and_watches(name: str) -> None:
    unit = assignments(name)
    assert unit["Type"] == ["notify"]
    assert unit["NotifyAccess"] == ["main"]
    assert unit["WatchdogSec"] == ["30"]
    assert unit["Restart"] == ["on-failure"]
    assert unit["RestartPreventExitStatus"] == ["2"], "the exit code of wrong settings"


# --- Sockets ---


def test_each_socket_that_is_enabled_is_at_the_derived_port(tmp_path: Path) -> None:
    ports = [80, 8001, 10000, 50051, 55535, 55536, 60051, 65535]
    found = generated(tmp_path, *(SOCKET.replace("@", f"@{port}") for port in ports))
    assert found == {
        SOCKET.replace("@", f"@{port}"): f"[Socket]\nListenStream={derived_metrics_port(port)}\n"
        for port in ports
    }


@pytest.mark.parametrize("instance", ["", "x", "08001", "100000", "80 01"])
def test_a_socket_of_no_port_is_left_alone(tmp_path: Path, instance: str) -> None:
    assert generated(tmp_path, SOCKET.replace("@", f"@{instance}")) == {}


def test_without_a_socket_there_is_nothing_to_generate(tmp_path: Path) -> None:
    assert generated(tmp_path) == {}


def test_the_socket_has_no_port_but_the_generators() -> None:
    assert "ListenStream" not in assignments(SOCKET)


# --- Limits, and what goes before ---


@pytest.mark.parametrize(
    ("name", "manifest", "containers"),
    [
        (WORKER, "base/worker.yaml", "initContainers"),
        (FLEET, "overlays/fleet/fleet.yaml", "containers"),
    ],
)
def test_memory_is_limited_as_in_kubernetes(name: str, manifest: str, containers: str) -> None:
    objects = yaml.safe_load_all((ROOT / "config" / "kubernetes" / manifest).read_text("utf-8"))
    (deployment,) = [it for it in objects if it["kind"] == "Deployment"]
    (container,) = deployment["spec"]["template"]["spec"][containers]
    assert [f"{it}i" for it in assignments(name)["MemoryMax"]] == [container["resources"]["limits"]["memory"]]


def test_the_fleet_is_checked_before_it_starts_and_starts_all_the_same() -> None:
    unit = assignments(FLEET)
    program, command = unit["ExecStart"][0].split()
    assert unit["ExecStartPre"] == [f"-{program} check {command}"]
