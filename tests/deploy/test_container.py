"""The Dockerfile: right by hadolint, and its commands build what it says; no container engine is needed."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from exporter import __version__
from exporter.addresses import FLEET_PORT, NODE_PORT, derived_metrics_port
from tests.support.daemon import ROOT, daemon

PREFIX = "/opt/smg-exporter"
"""Where the image has the program."""


class Instruction(NamedTuple):
    """One instruction of the Dockerfile; its stage is 0, 1, ..., and -1 before the first."""

    stage: int
    name: str
    words: str


def instructions() -> Iterator[Instruction]:
    """Yield the Dockerfile's instructions in order."""
    lines = [
        line for line in (ROOT / "Dockerfile").read_text("utf-8").splitlines() if not line.startswith("#")
    ]
    stage = -1
    for line in "\n".join(lines).replace("\\\n", "").splitlines():
        name, _, words = line.partition(" ")
        stage += name == "FROM"
        if name:
            yield Instruction(stage, name, words.strip())


ALL = list(instructions())
LAST = max(it.stage for it in ALL)


def only(name: str) -> str:
    """Return the words of the last stage's one instruction of that name."""
    (it,) = [it for it in ALL if it.name == name and it.stage == LAST]
    return it.words


def health_check() -> list[str]:
    words: list[str] = json.loads(only("HEALTHCHECK").partition("CMD ")[2])
    return words


def test_hadolint_has_no_complaint() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    result = subprocess.run([hadolint, "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "")


def test_the_last_stage_runs_as_nobody_in_particular_and_can_be_stopped() -> None:
    user, _, group = only("USER").partition(":")
    assert int(user) > 0, "a number, so that runAsNonRoot can tell"
    assert int(group) > 0
    assert only("STOPSIGNAL") == "SIGTERM"
    assert json.loads(only("ENTRYPOINT")) == ["smg-exporter"], "as process 1, with no shell before it"
    assert [int(port) for port in only("EXPOSE").split()] == [
        derived_metrics_port(8001),
        FLEET_PORT,
        NODE_PORT,
    ]


def test_the_image_says_its_version() -> None:
    assert 'org.opencontainers.image.version="${VERSION}"' in only("LABEL")
    assert only("ARG").startswith("VERSION=")


def test_manifests_run_it_as_the_same_user() -> None:
    manifests = "".join(path.read_text("utf-8") for path in (ROOT / "config" / "kubernetes").rglob("*.yaml"))
    # The node's exporter is root: Kubernetes gives capabilities to nobody else.
    assert set(re.findall(r"runAs(?:User|Group): (\d+)", manifests)) == {*only("USER").split(":"), "0"}
    assert set(re.findall(r"smg-exporter:(\d\S*)", manifests)) == {__version__}


def test_the_context_has_what_is_copied_and_no_more() -> None:
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    allowed = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = {
        name
        for it in ALL
        if it.name == "COPY" and not it.words.startswith("--from")
        for name in it.words.split()[:-1]
    }
    assert rules[0] == "*"
    assert allowed == copied
    assert all((ROOT / name).exists() for name in copied)


def test_the_health_check_tells_whether_it_serves(tmp_path: Path) -> None:
    """Of more it can tell: service/test_healthcheck.py."""
    program, *words = health_check()
    assert program == "smg-exporter"

    def check(port: int) -> int:
        variables = {"PYTHONPATH": str(ROOT), "SMG_EXPORTER_LISTEN_PORT": str(port)}
        return subprocess.run(
            [sys.executable, "-m", "exporter", *words], env=variables, stdout=subprocess.DEVNULL, check=False
        ).returncode

    (tmp_path / "worker").mkdir()
    with daemon(tmp_path / "worker") as exporter:
        assert check(exporter.port) == 0
    assert check(exporter.port) == 1


# --- What the commands make ---


class Image:
    """The stages' file systems, all in one folder, with the host's Python as base image."""

    def __init__(self, root: Path) -> None:
        self.prefix = root / "opt"
        self._source = root / "src"
        self._source.mkdir()
        self._base = root / "base"
        venv.create(self._base, with_pip=True)

    def run(self, it: Instruction) -> None:
        """Follow a COPY or a RUN; others change no file."""
        if it.name == "COPY" and not it.words.startswith("--from"):
            *names, _ = it.words.split()
            for name in names:
                self._copy(name)
        elif it.name == "RUN":
            command = it.words.replace(PREFIX, str(self.prefix))
            self.call("/bin/sh", "-euc", command)

    def call(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run a program, where the base image's come first."""
        path = os.pathsep.join([str(self.prefix / "bin"), str(self._base / "bin"), os.environ["PATH"]])
        result = subprocess.run(
            words,
            cwd=self._source,
            env={**os.environ, "PATH": path, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, f"{shlex.join(words)}\n{result.stdout}{result.stderr}"
        return result

    def _copy(self, name: str) -> None:
        source, target = ROOT / name, self._source / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)


@pytest.mark.peer
@pytest.mark.skipif(
    "CI" not in os.environ, reason="downloads packages, for which tests have no leave but in CI"
)
def test_the_stages_commands_install_the_program_and_nothing_to_build_with(tmp_path: Path) -> None:
    image = Image(tmp_path)
    for it in ALL:
        image.run(it)
    shutil.rmtree(tmp_path / "src" / "exporter")  # the build's stage is not in the image
    assert image.call("smg-exporter", "--version").stdout.startswith(f"smg-exporter {__version__} ")
    installed = [path.name for path in image.prefix.glob("lib/python*/site-packages/*.dist-info")]
    assert not [name for name in installed if re.match("pip|setuptools|wheel|hatchling", name)]
    locked = re.findall(r"^([\w-]+)==(\S+)", (ROOT / "requirements.lock").read_text("utf-8"), re.MULTILINE)
    expected = {f"{name.replace('-', '_')}-{version}.dist-info".lower() for name, version in locked}
    ours = f"smg_exporter-{__version__}.dist-info"
    assert ours in installed
    assert {name.lower() for name in installed} - {ours} <= expected
    assert not list(tmp_path.glob("base/bin/pip*"))
