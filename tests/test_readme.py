"""The documents say what is so: options, ports, endpoints, metrics, commands, links, and the map of modules."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter import cli
from exporter.addresses import derived_metrics_port
from exporter.demo import catalogue
from exporter.fleet.telemetry import target_metrics
from exporter.model import Format, family_name
from exporter.node.telemetry import Facts
from exporter.node.telemetry import Telemetry as NodeTelemetry
from exporter.options.commands import ALL, COMMANDS
from exporter.options.option import described, flag
from exporter.paths import PAGES
from exporter.worker.status import AlsoStatus
from exporter.worker.telemetry import AlsoTelemetry, Telemetry, WorkerTelemetry
from tests.web.serving import a_worker

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]


def rows(first_cell: str) -> Iterator[list[str]]:
    """Yield the README's table rows whose first cell matches, as cells."""
    for line in README.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and re.fullmatch(first_cell, cells[0]):
            yield cells


def code(text: str) -> list[str]:
    """Return the lines of the fenced blocks, those that a backslash continues joined."""
    return (
        "\n".join(re.findall(r"^```[a-z]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
        .replace("\\\n", "")
        .splitlines()
    )


def prose(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(document: Path) -> set[str]:
    """Return a document's headings as GitHub links them."""
    headings = re.findall(r"^#+ (.*)$", prose(document.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def default(name: str) -> str:
    """Return an option's default as --help shows it."""
    return "off" if ALL[name].is_switch else ALL[name].default


# --- The README ---


def test_the_table_has_every_option_with_its_default_and_no_other() -> None:
    said = {cells[0].strip("`"): cells[1].strip("`") for cells in rows("`--.*`")}
    assert said == {flag(name): default(name) for name in ALL}


def test_each_command_is_named() -> None:
    named = [cells[0].strip("`").removeprefix("smg-exporter ") for cells in rows("`smg-exporter .*`")]
    assert sorted(named) == sorted([*COMMANDS, *cli.OTHERS])


def test_the_table_of_ports_is_the_rule() -> None:
    ports = {int(grpc): int(metrics) for grpc, metrics in rows("[0-9]+")}
    assert len(ports) > 3
    assert ports == {port: derived_metrics_port(port) for port in ports}


def test_each_endpoint_is_named() -> None:
    named = {path for cells in rows("`GET .*") for path in re.findall("`GET ([^`]*)`", cells[0])}
    assert named == {*PAGES, default("telemetry_path")}


def test_each_own_metric_is_named_and_no_other() -> None:
    also = AlsoTelemetry(lambda: [AlsoStatus("http://localhost:1/metrics")])
    of_worker = WorkerTelemetry(a_worker, among_several=True)
    of_process = Telemetry(dict, conflicts=int)
    of_node = NodeTelemetry(Facts())
    told = (one.family for each in (of_process, of_worker, also, of_node) for one in each.tell())
    own = {family_name(one.name, one.type, Format.TEXT_0_0_4) for one in told if "process_" not in one.name}
    of_fleet = {one.family.name for one in target_metrics((), {})}
    assert set(re.findall("smg_exporter_[a-z_]+", README)) <= own | of_fleet
    tabled = {match[0] for cells in rows("`smg_exporter_.*") if (match := re.search(r"\w+", cells[0]))}
    assert own <= tabled


def test_each_own_metric_of_a_fleet_is_named_and_no_other() -> None:
    document = (ROOT / "docs" / "scaling.md").read_text("utf-8")
    tabled = "\n".join(line for line in document.splitlines() if line.startswith("| `smg_exporter_"))
    served = (ROOT / "tests" / "golden" / "fleet-own.txt").read_text("utf-8")
    assert set(re.findall("smg_exporter_[a-z_]+", tabled)) == set(
        re.findall("^# TYPE (smg_exporter_[a-z_]+)", served, re.MULTILINE)
    )


@pytest.mark.parametrize("line", [line for line in code(README) if re.match(r"(\$ )?smg-exporter ", line)])
def test_each_command_line_can_be_given(line: str) -> None:
    words = shlex.split(line.removeprefix("$ "), comments=True)
    if words[1] == "error:":
        pytest.skip("it is what the program says")
    if ">" in words:  # a shell's own
        words = words[: words.index(">")]
    given, rest = cli._parser(ALL.values()).parse_known_args(words[1:])
    if rest[:1] == ["completion"]:
        assert cli._completion(rest[1:])
        return
    taken = described(COMMANDS[cli._command([word for word in rest if word != "help"])].options)
    assert vars(given).keys() - {"help", "version"} <= taken.keys()


def test_in_the_package_its_links_lead_to_the_repository() -> None:
    repository = PROJECT["project"]["urls"]["Repository"]
    text = README
    for rule in PROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]:
        text = re.sub(rule["pattern"], rule["replacement"], text)
    ours = re.findall(rf"(!?)\[[^\]]*\]\({re.escape(repository)}/(\w+)/main/([^)#]+)[^)]*\)", text)
    relative = re.findall(r"\]\((?!https?://|#)([^)]*)\)", README)
    assert len(ours) == len(relative) > 10
    for picture, kind, path in ours:
        assert (ROOT / path).exists(), path
        assert kind == ("raw" if picture else "blob"), path
    assert not re.search(r"\]\((?!https?://|#)", text)


def test_the_repositorys_address_is_the_same_wherever_it_stands() -> None:
    files = [ROOT / "pyproject.toml", *(ROOT / "config").rglob("*.y*ml")]
    links = [re.findall(r"(https://\S+?)/(?:blob|raw)/main/", file.read_text("utf-8")) for file in files]
    assert {address for found in links for address in found} == {PROJECT["project"]["urls"]["Repository"]}
    assert len(list(filter(None, links))) == 4, "pyproject.toml, alerts, their unit tests, PrometheusRule"


def test_the_quick_start_shows_metrics_that_sglang_has_in_grpc_mode_too() -> None:
    shown = set(re.findall(r"^sglang:\w+", "\n".join(code(README)), re.MULTILINE))
    of_schedulers = {spec.name for spec in catalogue.load().metrics if spec.role is catalogue.Role.SCHEDULER}
    assert {name.removesuffix("_total") for name in shown} <= of_schedulers
    assert len(shown) == 2


# --- All documents ---


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_metrics_of_sglang_are_called_as_sglang_calls_them(document: Path) -> None:
    named = set(re.findall(r"sglang:(\w{2,})", document.read_text("utf-8")))
    known = {spec.name.removeprefix(catalogue.PREFIX) for spec in catalogue.load().metrics}
    assert {re.sub("_(total|bucket|sum|count)$", "", name) for name in named} <= known


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", prose(document.read_text("utf-8")))
    for link in links:
        if re.match("https?://", link):
            continue
        name, _, anchor = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_each_make_target_exists(document: Path) -> None:
    text = document.read_text("utf-8")
    inline = re.findall(r"`([^`\n]+)`", prose(text))
    named = {match[1] for line in [*code(text), *inline] if (match := re.match(r"make ([a-z-]+)", line))}
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert named <= targets


def test_the_quick_start_is_there() -> None:
    commands = [line.partition("#")[0].strip() for line in code(README)]
    assert {"make demo", "make test", "pip install .", "smg-exporter --grpc-port 8001"} <= set(commands)


# --- docs/architecture.md ---


def mapped() -> set[str]:
    """Return the paths of the map, which indents what is in a folder."""
    block = next(
        block for block in re.findall(r"^```\n(exporter/\n.*?)^```", ARCHITECTURE, re.MULTILINE | re.DOTALL)
    )
    folders: list[str] = []
    paths = set()
    for line in block.splitlines():
        name = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 2
        folders[depth:] = [name]
        if not name.endswith("/"):
            paths.add("".join(folders))
    return paths


def test_the_map_has_every_file_and_no_other() -> None:
    there = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "exporter").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert mapped() == there, "a file of exporter/ has one line on the map"


def test_each_dependency_has_its_reason() -> None:
    groups = PROJECT["dependency-groups"]
    needed = [*PROJECT["project"]["dependencies"], *groups["dev"], *groups["build"], *groups["docs"]]
    _, _, section = ARCHITECTURE.partition("## Dependencies")
    explained = re.findall(r"^\| ([a-z_, -]+) \|", section, re.MULTILINE)
    names = {name.replace("_", "-") for cell in explained for name in cell.split(", ")}
    assert {re.split("[<>=]", requirement)[0] for requirement in needed} <= names
