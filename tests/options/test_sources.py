import re
from dataclasses import fields, replace
from itertools import combinations
from pathlib import Path

import pytest

from exporter.errors import SettingsError
from exporter.options.commands import ALL
from exporter.options.demo import DemoOptions
from exporter.options.fleet import FleetOptions
from exporter.options.healthcheck import HealthcheckOptions
from exporter.options.node import NodeOptions
from exporter.options.option import Option
from exporter.options.sources import load
from exporter.options.values import Directory
from exporter.options.worker import DumpOptions, ServeOptions, VerifyOptions
from tests.support.settings import WORKER, problem, setenv

CONFIG = Path(__file__).parents[2] / "config"


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.environ", {})


# --- Where a value comes from ---

LEVELS = {"command line": "debug", "environment": "warning", "file": "error", "default": "info"}


@pytest.mark.parametrize(("strong", "weak"), list(combinations(LEVELS, 2)))
@pytest.mark.parametrize("suffix", ["toml", "yaml"])
def test_the_stronger_source_wins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, strong: str, weak: str, suffix: str
) -> None:
    sources = {strong, weak}
    command_line = dict(WORKER)
    if "command line" in sources:
        command_line["log_level"] = LEVELS["command line"]
    if "environment" in sources:
        monkeypatch.setenv("SMG_EXPORTER_LOG_LEVEL", LEVELS["environment"])
    if "file" in sources:
        file = tmp_path / f"s.{suffix}"
        file.write_text({"toml": "log_level = 'error'", "yaml": "log_level: error"}[suffix])
        command_line["config"] = str(file)
    assert load(ServeOptions, command_line).log_level == LEVELS[strong]


@pytest.mark.parametrize("source", ["command line", "environment", "file"])
def test_a_value_that_equals_its_default_is_known_to_be_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: str
) -> None:
    file, found = tmp_path / "s.toml", "grpc://10.0.0.7:8001"
    file.write_text("grpc_host = '127.0.0.1'" if source == "file" else "")
    if source == "environment":
        setenv(monkeypatch, SMG_EXPORTER_GRPC_HOST="127.0.0.1")
    command_line = {"grpc_port": "8001", "config": str(file)}
    if source == "command line":
        command_line["grpc_host"] = "127.0.0.1"
    assert load(ServeOptions, command_line).found_address(found) == "grpc://127.0.0.1:8001"
    assert ServeOptions(grpc_port=8001).found_address(found) == found


def test_the_worlds_directory_variable_comes_last(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text("multiproc_dir = '/from/file'")
    setenv(monkeypatch, PROMETHEUS_MULTIPROC_DIR="/from/world")
    assert load(ServeOptions, {"grpc_port": "1"}).multiproc_dir == (Directory("/from/world"),)
    setenv(monkeypatch, SMG_EXPORTER_CONFIG=str(file))
    assert load(ServeOptions, {"grpc_port": "1"}).multiproc_dir == (Directory("/from/file"),)
    setenv(monkeypatch, SMG_EXPORTER_MULTIPROC_DIR="/from/own")
    assert load(ServeOptions, {"grpc_port": "1"}).multiproc_dir == (Directory("/from/own"),)
    assert load(ServeOptions, {"grpc_port": "1", "multiproc_dir": "/given"}).multiproc_dir == (
        Directory("/given"),
    )


def test_several_directories_are_a_list_with_a_line_each_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    both = (Directory("/d,e", (("rank", "0"),)), Directory("/f", (("rank", "1"),)))
    file = tmp_path / "s.toml"
    file.write_text("multiproc_dir = ['/d,e,rank=0', '/f,rank=1']")
    assert load(ServeOptions, {"grpc_port": "1", "config": str(file)}).multiproc_dir == both
    setenv(monkeypatch, SMG_EXPORTER_MULTIPROC_DIR="/d,e,rank=0\n\n/f,rank=1\n")
    assert load(ServeOptions, {"grpc_port": "1"}).multiproc_dir == both


def test_the_worlds_directory_is_a_path_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    setenv(monkeypatch, PROMETHEUS_MULTIPROC_DIR="/d,rank=0")
    assert load(ServeOptions, {"grpc_port": "1"}).multiproc_dir == (Directory("/d,rank=0"),)


def test_the_config_of_the_command_line_goes_before_the_environments(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "a.toml").write_text("max_requests = 1")
    (tmp_path / "b.yml").write_text("max_requests: 2")
    setenv(monkeypatch, SMG_EXPORTER_CONFIG=str(tmp_path / "a.toml"))
    assert load(ServeOptions, WORKER).max_requests == 1
    assert load(ServeOptions, {**WORKER, "config": str(tmp_path / "b.yml")}).max_requests == 2


def test_variables_are_found_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    setenv(monkeypatch, smg_exporter_max_requests="7")
    assert load(ServeOptions, WORKER).max_requests == 7


def test_a_list_replaces_a_weaker_list(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text("label = {a = 'file', b = 'file'}")
    setenv(monkeypatch, SMG_EXPORTER_CONFIG=str(file))
    assert load(ServeOptions, WORKER).label == {"a": "file", "b": "file"}
    setenv(monkeypatch, SMG_EXPORTER_LABEL="b=env, c=env")
    assert load(ServeOptions, WORKER).label == {"b": "env", "c": "env"}
    assert load(ServeOptions, {**WORKER, "label": ["d=x,y=z"]}).label == {"d": "x,y=z"}


# --- What is not taken, and where it stands ---


@pytest.mark.parametrize("name", ["max_requests", "label", "worker_addr", "config", "nope"])
def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    setenv(monkeypatch, **{f"SMG_EXPORTER_{name.upper()}": ""})
    assert load(ServeOptions, WORKER) == ServeOptions(grpc_port=8001, multiproc_dir=(Directory("/tmp/prom"),))  # noqa: S108 - only named


@pytest.mark.parametrize(
    ("line", "start"),
    [
        ("grpc_port = true", "grpc_port in FILE, line 1: True is not a port"),
        ("grpc_port = 0", "grpc_port in FILE, line 1: 0 is not a port"),
        ("grpc_port = 8001.0", "grpc_port in FILE, line 1: 8001.0 is not a port"),
        ("grpc_host = 5", "grpc_host in FILE, line 1: 5 is not a text"),
        ("listen_host = 5", "listen_host in FILE, line 1: 5 is not a list"),
        ("listen_host = [5]", "listen_host in FILE, line 1: 5 is not a text"),
        ("label = 5", "label in FILE, line 1: 5 is not a list"),
        ("label = {x = 5}", "label in FILE, line 1: 'x=5' is not NAME=VALUE"),
        ("label = {pid = 'x'}", "label in FILE, line 1: 'pid=x' is not allowed"),
        ("label = ['a=1', 'a=2']", "label in FILE, line 1: 'a=2' is not allowed: a has a value, '1'"),
        ("per_process = 1", "per_process in FILE, line 1: 1 is not true or false"),
        ("log_level = []", "log_level in FILE, line 1: [] is not 'debug', "),
        ("grpc_prot = 1", "grpc_prot in FILE, line 1: no such option; did you mean grpc_port?"),
        ("grpc-port = 1", "grpc-port in FILE, line 1: no such option; did you mean grpc_port?"),
        ("zzz = 1", "zzz in FILE, line 1: no such option"),
        ("config = 'x.toml'", "config in FILE, line 1: 'x.toml' is not read"),
        ("a = " + "[" * 10_000, "--config: 'FILE' is not valid TOML: "),
        ("grpc_port 1", "--config: 'FILE' is not valid TOML: "),
    ],
)
def test_a_bad_value_in_a_file(tmp_path: Path, line: str, start: str) -> None:
    file = tmp_path / "s.toml"
    file.write_text(line)
    command_line = {"multiproc_dir": "/d", "config": str(file)} | (
        {} if line.startswith("grpc_port ") else dict(WORKER)
    )
    assert problem(command_line).startswith(start.replace("FILE", str(file)))


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("s.toml", "# max_requests = 1\n\nmax_requests = 0", ", line 3"),
        ("s.toml", "[label]\na = 'x'\n['max_requests']", ", line 3"),
        ("s.yaml", "log_level: info\n'max_requests': 0", ", line 2"),
        ("s.yaml", "{log_level: info, max_requests: 0}", ""),
    ],
)
def test_a_problem_in_a_file_has_its_line(tmp_path: Path, name: str, content: str, line: str) -> None:
    file = tmp_path / name
    file.write_text(content)
    assert problem({**WORKER, "config": str(file)}).startswith(f"max_requests in {file}{line}: ")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("ranks = 1\nranks = 2", "Cannot overwrite a value (at line 2, column 10), near ranks"),
        ("[label]\na = '1'\n[label]", "Cannot declare ('label',) twice (at line 3, column 7)"),
        (
            "grpc_port 1",
            "Expected '=' after a key in a key/value pair (at line 1, column 11), near grpc_port",
        ),
        (
            "\n  grpc_port= 80 01",
            "Expected newline or end of document after a statement (at line 2, column 17), near grpc_port",
        ),
        ('worker_addr = "s3cret', "Illegal character '\\n' (at line 1, column 22), near worker_addr"),
        ('worker_addr = """\ns3cret = \\q\n"""', "Unescaped '\\' in a string (at line 2, column 12)"),
    ],
)
def test_a_toml_file_that_is_none(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "s.toml"
    file.write_text(content)
    assert problem({"config": str(file)}) == f"--config: {str(file)!r} is not valid TOML: {said}"


def test_options_of_other_commands_are_let_be_in_environment_and_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("ranks: x\nsmg_url: x\nworker: 5")
    setenv(monkeypatch, SMG_EXPORTER_ROUNDS="x", SMG_EXPORTER_CONFIG=str(file))
    assert load(ServeOptions, WORKER).metrics_port == 18001
    setenv(monkeypatch, SMG_EXPORTER_ROUND="x")
    assert problem(WORKER) == "SMG_EXPORTER_ROUND: no such option; did you mean SMG_EXPORTER_ROUNDS?"


@pytest.mark.parametrize(
    ("content", "start"),
    [
        (b"a: [\n\n", "is not valid YAML: line 3: "),
        (
            b"ranks: 1\n rounds: s3cret",
            "is not valid YAML: line 2: mapping values are not allowed here, near rounds",
        ),
        (b"\xff\xfe\xfa", "is not text in UTF-8: "),
        (b"ranks: 1\nrounds: 1\nranks: 2\n", "is not valid YAML: line 3: 'ranks' is given twice"),
        (b"a: 2024-99-99", "is not valid YAML: "),
        (b'a: !!int ""', "is not valid YAML: "),
        (b"[" * 10_000, "is not valid YAML: "),
        (b"- 1", "is not a mapping of options"),
        (b"[]", "is not a mapping of options"),
        (b"text", "is not a mapping of options"),
    ],
)
def test_a_yaml_file_that_is_none(tmp_path: Path, content: bytes, start: str) -> None:
    file = tmp_path / "s.yaml"
    file.write_bytes(content)
    assert problem({"config": str(file)}).startswith(f"--config: {str(file)!r} {start}")


def test_an_empty_yaml_file_and_a_null_say_nothing(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("# nothing\n")
    (tmp_path / "n.yaml").write_text("listen_port: null\nliveness: off\n")
    assert load(ServeOptions, {**WORKER, "config": str(tmp_path / "s.yaml")}).metrics_port == 18001
    settings = load(ServeOptions, {**WORKER, "config": str(tmp_path / "n.yaml")})
    assert (settings.metrics_port, settings.liveness) == (18001, "off")


def test_unknown_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    setenv(monkeypatch, SMG_EXPORTER_GRPC_PROT="8001", OTHER_GRPC_PROT="1")
    line = "SMG_EXPORTER_GRPC_PROT: no such option; did you mean SMG_EXPORTER_GRPC_PORT?"
    assert problem(WORKER) == line


@pytest.mark.parametrize("service", ["", "WORKER_0_"])
def test_kubernetes_service_links_are_no_options(monkeypatch: pytest.MonkeyPatch, service: str) -> None:
    links = {
        "SERVICE_HOST": "10.0.0.1",
        "SERVICE_PORT": "18001",
        "SERVICE_PORT_METRICS": "18001",
        "PORT": "tcp://10.0.0.1:18001",
        "PORT_18001_TCP": "tcp://10.0.0.1:18001",
        "PORT_18001_TCP_PROTO": "tcp",
        "PORT_18001_TCP_PORT": "18001",
        "PORT_18001_TCP_ADDR": "10.0.0.1",
    }
    setenv(monkeypatch, **{f"SMG_EXPORTER_{service}{name}": value for name, value in links.items()})
    assert load(ServeOptions, WORKER).metrics_port == 18001
    setenv(monkeypatch, SMG_EXPORTER_PORT="18001")
    assert problem(WORKER) == "SMG_EXPORTER_PORT: no such option; did you mean SMG_EXPORTER_LISTEN_PORT?"


def test_every_problem_has_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    setenv(monkeypatch, SMG_EXPORTER_MAX_REQUESTS="x", SMG_EXPORTER_NOPE="x")
    with pytest.raises(SettingsError) as caught:
        load(ServeOptions, {"grpc_port": "0"})
    starts = [line.split(":")[0] for line in str(caught.value).splitlines()]
    assert starts == ["SMG_EXPORTER_NOPE", "--grpc-port", "SMG_EXPORTER_MAX_REQUESTS"]


# --- What a command needs ---


def test_what_does_not_go_together_is_told_as_it_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    setenv(monkeypatch, SMG_EXPORTER_WORKER_ADDR="w")
    assert problem({**WORKER, "no_worker_addr_label": True}) == (
        "SMG_EXPORTER_WORKER_ADDR: contradicts --no-worker-addr-label, which leaves the label out"
    )


def test_a_missing_value_tells_every_way_to_give_it() -> None:
    with pytest.raises(SettingsError) as caught:
        load(VerifyOptions, {})
    assert str(caught.value) == (
        "--multiproc-dir: required; or set SMG_EXPORTER_MULTIPROC_DIR or PROMETHEUS_MULTIPROC_DIR,"
        " or multiproc_dir in the --config file"
    )


def test_an_empty_world_directory_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    setenv(monkeypatch, PROMETHEUS_MULTIPROC_DIR="")
    assert load(ServeOptions, {"grpc_port": "1"}).multiproc_dir == ()


# --- The example files ---


@pytest.mark.parametrize("name", ["smg-exporter.toml", "smg-exporter.yaml"])
def test_the_example_files_show_every_option_at_its_default(name: str) -> None:
    file = CONFIG / name
    for options, needed in (
        (ServeOptions, WORKER),
        (DemoOptions, {}),
        (DumpOptions, WORKER),
        (VerifyOptions, {"multiproc_dir": "/d"}),
        (FleetOptions, {"worker": ["http://h"]}),
        (NodeOptions, {}),
        (HealthcheckOptions, {}),
    ):
        loaded = load(options, {**needed, "config": str(file)})
        assert replace(loaded, config=None) == load(options, needed)
    text = file.read_text()
    written = set(re.findall(r"^\[?(\w+)", text, re.MULTILINE))
    assert set(ALL) - {"config"} <= written | set(re.findall(r"^# (\w+)", text, re.MULTILINE))
    assert {option.name for option in ALL.values() if has_default(option)} <= written


def has_default(option: Option) -> bool:
    """Whether an option has a value where none is given, but that of another program's variable."""
    return not option.default.startswith("$") and any(
        field.name == option.name and (field.default is not None)
        for options in (ServeOptions, DemoOptions, DumpOptions, VerifyOptions, FleetOptions)
        for field in fields(options)
    )
