from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from exporter.errors import SettingsError
from exporter.settings import Settings, load
from exporter.values import Size

CONFIG = Path(__file__).parents[1] / "config"
WORKER: Mapping[str, str] = {"grpc_port": "8001", "multiproc_dir": "/tmp/prom"}  # noqa: S108 - only named


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.environ", {})


def setenv(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def problem(command_line: Mapping[str, Any], command: str = "serve") -> str:
    with pytest.raises(SettingsError) as caught:
        load(command_line, command)
    (line,) = str(caught.value).splitlines()
    return line


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
    assert load(command_line).log_level == LEVELS[strong]


def test_the_worlds_directory_variable_comes_last(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text("multiproc_dir = '/from/file'")
    setenv(monkeypatch, PROMETHEUS_MULTIPROC_DIR="/from/world")
    assert load({"grpc_port": "1"}).directory == Path("/from/world")
    setenv(monkeypatch, SMG_EXPORTER_CONFIG=str(file))
    assert load({"grpc_port": "1"}).directory == Path("/from/file")
    setenv(monkeypatch, SMG_EXPORTER_MULTIPROC_DIR="/from/own")
    assert load({"grpc_port": "1"}).directory == Path("/from/own")
    assert load({"grpc_port": "1", "multiproc_dir": "/given"}).directory == Path("/given")


def test_the_config_of_the_command_line_goes_before_the_environments(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "a.toml").write_text("max_requests = 1")
    (tmp_path / "b.yml").write_text("max_requests: 2")
    setenv(monkeypatch, SMG_EXPORTER_CONFIG=str(tmp_path / "a.toml"))
    assert load(WORKER).max_requests == 1
    assert load({**WORKER, "config": str(tmp_path / "b.yml")}).max_requests == 2


def test_variables_are_found_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    setenv(monkeypatch, smg_exporter_max_requests="7")
    assert load(WORKER).max_requests == 7


def test_a_list_replaces_a_weaker_list(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text("label = {a = 'file', b = 'file'}")
    setenv(monkeypatch, SMG_EXPORTER_CONFIG=str(file))
    assert load(WORKER).label == {"a": "file", "b": "file"}
    setenv(monkeypatch, SMG_EXPORTER_LABEL="b=env, c=env")
    assert load(WORKER).label == {"b": "env", "c": "env"}
    assert load({**WORKER, "label": ["d=x,y=z"]}).label == {"d": "x,y=z"}


# --- What a value may be ---


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("grpc_port", "1", 1),
        ("grpc_port", "65535", 65535),
        ("grpc_host", "[::1]", "::1"),
        ("worker_addr", "grpc://h:1", "grpc://h:1"),
        ("no_worker_addr_label", True, True),
        ("no_worker_addr_label", "True", True),
        ("per_process", "false", False),
        ("listen_host", ["127.0.0.1", "[::1]"], ("127.0.0.1", "::1")),
        ("listen_host", "127.0.0.1,::", ("127.0.0.1", "::")),
        ("listen_port", 9100, 9100),
        ("telemetry_path", "/a/b-c", "/a/b-c"),
        ("label", ["b=1", "a=2 =3"], {"b": "1", "a": "2 =3"}),
        ("label", {"rack": "r1"}, {"rack": "r1"}),
        ("liveness", "off", "off"),
        ("liveness", False, "off"),
        ("liveness", True, "on"),
        ("max_file_size", "1048576", 1 << 20),
        ("max_file_size", 1048576, 1 << 20),
        ("max_file_size", "3 KiB", 3 << 10),
        ("max_file_size", "1GiB", 1 << 30),
        ("max_file_size", "2TiB", 2 << 40),
        ("max_file_size", "5B", 5),
        ("ranks", "64", 64),
    ],
)
def test_a_good_value(name: str, given: Any, value: object) -> None:
    assert getattr(load({**WORKER, name: given}), name) == value


def test_labels_keep_their_order() -> None:
    assert list(load({**WORKER, "label": ["z=1", "a=2", "m=3"]}).static_labels) == [
        "worker_addr",
        "z",
        "a",
        "m",
    ]


@pytest.mark.parametrize(
    ("size", "text"),
    [(256 << 20, "256MiB"), (1 << 30, "1GiB"), (1023, "1023B"), (1536, "1536B"), (1 << 50, "1024TiB")],
)
def test_a_size_is_shown_as_it_is_written(size: int, text: str) -> None:
    assert str(Size(size)) == text


PORT = "is not a port from 1 to 65535"
BAD_VALUES = [
    *[
        ("grpc_port", value, PORT)
        for value in ("0", "-1", "65536", "abc", "", "1.0", "1_0", " 1", "٣", "9" * 5000)
    ],
    ("listen_port", "0", PORT),
    ("grpc_host", "", "is not a text"),
    ("grpc_host", "h:8001", "is not a host name or IP address"),
    ("grpc_host", "http://h", "is not a host name or IP address"),
    ("grpc_host", "a b", "is not a host name or IP address"),
    ("worker_addr", "", "is not a text"),
    ("worker_addr", "\udcff", "is not a text"),
    ("multiproc_dir", "", "is not a text"),
    ("multiproc_dir", "a\0b", "is not a text"),
    ("config", "", "is not a .toml, .yaml or .yml file"),
    ("config", "x.ini", "is not a .toml, .yaml or .yml file"),
    ("config", "/nowhere/x.toml", "is not readable: No such file or directory"),
    ("no_worker_addr_label", "yes", "is not true or false"),
    ("telemetry_path", "metrics", "is not a / followed by"),
    ("telemetry_path", "", "is not a text"),
    ("telemetry_path", "/{x}", "is not a / followed by"),
    ("telemetry_path", "/a?b", "is not a / followed by"),
    *[
        ("telemetry_path", path, "is not free")
        for path in ("/", "/healthz", "/readyz", "/-/healthy", "/-/ready", "/status.json")
    ],
    ("liveness", "maybe", "is not 'auto', 'on' or 'off'"),
    ("when_worker_down", "x", "is not 'drop-gauges' or 'keep-gauges'"),
    ("collector", "", "is not 'incremental' or 'stock'"),
    ("log_level", "INFO", "is not 'debug', 'info', 'warning' or 'error'"),
    ("log_format", "text", "is not 'logfmt' or 'json'"),
    ("format", "json", "is not 'text' or 'openmetrics'"),
    ("max_requests", "0", "is not a number from 1 to 10000"),
    ("max_file_size", "0", "is not a size above zero"),
    ("max_file_size", "256MB", "is not a size above zero"),
    ("max_file_size", "-1", "is not a size above zero"),
    ("max_file_size", "1.5GiB", "is not a size above zero"),
    ("ranks", "65", "is not a number from 1 to 64"),
    ("rounds", "0", "is not a number from 1 to 1000000"),
]
BAD_ITEMS = [
    ("listen_host", "", "is not a text"),
    ("listen_host", "a:1", "is not a host name or IP address"),
    ("label", "", "is not a text"),
    *[("label", item, "is not NAME=VALUE") for item in ("x", "x=", "=v", "1x=v", "a-b=v", "a:b=v", "é=v")],
    *[("label", f"{name}=v", "is not allowed") for name in ("__x", "le", "quantile", "pid", "worker_addr")],
    ("label", "x=\udcff", "is not a text"),
]


def expected(spelling: str, value: str, allowed: str) -> str:
    return f"{spelling}: {value!r} {allowed}"


@pytest.mark.parametrize(("name", "value", "allowed"), BAD_VALUES)
def test_a_bad_value_on_the_command_line(name: str, value: str, allowed: str) -> None:
    spelling = "--" + name.replace("_", "-")
    assert problem({**WORKER, name: value}).startswith(expected(spelling, value, allowed))


@pytest.mark.parametrize(("name", "value", "allowed"), BAD_ITEMS)
def test_a_bad_item_on_the_command_line(name: str, value: str, allowed: str) -> None:
    spelling = "--" + name.replace("_", "-")
    assert problem({**WORKER, name: [value]}).startswith(expected(spelling, value, allowed))


@pytest.mark.parametrize(("name", "value", "allowed"), BAD_VALUES + BAD_ITEMS)
def test_a_bad_value_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, allowed: str
) -> None:
    if "\0" in value:
        return  # no environment can hold it
    variable = f"SMG_EXPORTER_{name.upper()}"
    setenv(monkeypatch, PROMETHEUS_MULTIPROC_DIR="/d", **{"SMG_EXPORTER_GRPC_PORT": "1", variable: value})
    assert problem({}).startswith(expected(variable, value, allowed))


@pytest.mark.parametrize(
    ("line", "start"),
    [
        ("grpc_port = true", "grpc_port in FILE: True is not a port"),
        ("grpc_port = 0", "grpc_port in FILE: 0 is not a port"),
        ("grpc_port = 8001.0", "grpc_port in FILE: 8001.0 is not a port"),
        ("grpc_host = 5", "grpc_host in FILE: 5 is not a text"),
        ("listen_host = 5", "listen_host in FILE: 5 is not a list"),
        ("listen_host = [5]", "listen_host in FILE: 5 is not a text"),
        ("label = 5", "label in FILE: 5 is not a list"),
        ("label = {x = 5}", "label in FILE: 'x=5' is not NAME=VALUE"),
        ("label = {pid = 'x'}", "label in FILE: 'pid=x' is not allowed"),
        ("label = ['a=1', 'a=2']", "label in FILE: 'a=2' is not allowed: a has a value, '1'"),
        ("per_process = 1", "per_process in FILE: 1 is not true or false"),
        ("log_level = []", "log_level in FILE: [] is not 'debug', "),
        ("grpc_prot = 1", "grpc_prot in FILE: no such option; did you mean grpc_port?"),
        ("grpc-port = 1", "grpc-port in FILE: no such option; did you mean grpc_port?"),
        ("zzz = 1", "zzz in FILE: no such option"),
        ("config = 'x.toml'", "config in FILE: 'x.toml' is not read"),
        ("a = " + "[" * 10_000, "--config: 'FILE' is not valid TOML: "),
        ("grpc_port 1", "--config: 'FILE' is not valid TOML: "),
    ],
)
def test_a_bad_value_in_a_file(tmp_path: Path, line: str, start: str) -> None:
    file = tmp_path / "s.toml"
    file.write_text(line)
    given = {"multiproc_dir": "/d", "config": str(file)} | (
        {} if line.startswith("grpc_port ") else dict(WORKER)
    )
    assert problem(given).startswith(start.replace("FILE", str(file)))


@pytest.mark.parametrize(
    ("content", "start"),
    [
        (b"a: [\n\n", "is not valid YAML: "),
        (b"\xff\xfe\xfa", "is not valid YAML: "),
        (b"a: 2024-99-99", "is not valid YAML: "),
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
    assert load({**WORKER, "config": str(tmp_path / "s.yaml")}).metrics_port == 18001
    settings = load({**WORKER, "config": str(tmp_path / "n.yaml")})
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
    assert load(WORKER).metrics_port == 18001
    setenv(monkeypatch, SMG_EXPORTER_PORT="18001")
    assert problem(WORKER).startswith("SMG_EXPORTER_PORT: no such option")


def test_every_problem_has_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    setenv(monkeypatch, SMG_EXPORTER_RANKS="x", SMG_EXPORTER_NOPE="x")
    with pytest.raises(SettingsError) as caught:
        load({"grpc_port": "0"})
    starts = [line.split(":")[0] for line in str(caught.value).splitlines()]
    assert starts == ["SMG_EXPORTER_NOPE", "--grpc-port", "SMG_EXPORTER_RANKS"]


# --- What a command needs ---


@pytest.mark.parametrize(
    ("command", "given", "missing"),
    [
        ("serve", {}, ["--grpc-port", "--multiproc-dir"]),
        ("check", {}, ["--grpc-port", "--multiproc-dir"]),
        ("check", {"listen_port": "1", "worker_addr": "w"}, ["--grpc-port", "--multiproc-dir"]),
        ("dump", {}, ["--grpc-port", "--multiproc-dir"]),
        ("dump", {"worker_addr": "w"}, ["--multiproc-dir"]),
        ("dump", {"no_worker_addr_label": True}, ["--multiproc-dir"]),
        ("verify", {}, ["--multiproc-dir"]),
    ],
)
def test_what_is_required_depends_on_the_command(
    command: str, given: Mapping[str, str | bool], missing: list[str]
) -> None:
    with pytest.raises(SettingsError) as caught:
        load(given, command)
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == missing
    needed = {flag.removeprefix("--").replace("-", "_") for flag in missing}
    load({**given, **{name: WORKER[name] for name in needed}}, command)


def test_a_missing_value_tells_every_way_to_give_it() -> None:
    assert problem({"grpc_port": "1"}) == (
        "--multiproc-dir: required; or set SMG_EXPORTER_MULTIPROC_DIR or PROMETHEUS_MULTIPROC_DIR,"
        " or multiproc_dir in the --config file"
    )


def test_an_empty_world_directory_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    setenv(monkeypatch, PROMETHEUS_MULTIPROC_DIR="")
    assert problem({"grpc_port": "1"}).startswith("--multiproc-dir: required")


def test_demo_needs_nothing() -> None:
    settings = load({}, "demo")
    assert (settings.grpc_port, settings.multiproc_dir, settings.metrics_port) == (8001, None, 18001)
    assert load({"grpc_port": "9000"}, "demo").grpc_port == 9000


def test_what_is_derived_from_nothing_says_so() -> None:
    with pytest.raises(SettingsError, match="--grpc-port: required"):
        _ = load({"multiproc_dir": "/d"}, "verify").static_labels
    with pytest.raises(SettingsError, match="--multiproc-dir: required"):
        _ = load({}, "demo").directory


# --- What follows from the values ---


@pytest.mark.parametrize(
    ("given", "port", "rule"),
    [
        ({}, 18001, "derived from --grpc-port 8001 (+10000)"),
        ({"grpc_port": "60051"}, 50051, "derived from --grpc-port 60051 (-10000)"),
        ({"listen_port": "9100"}, 9100, "chosen by --listen-port"),
    ],
)
def test_the_port_and_its_rule(given: Mapping[str, str], port: int, rule: str) -> None:
    settings = load({**WORKER, **given})
    assert (settings.metrics_port, settings.port_rule) == (port, rule)


@pytest.mark.parametrize(
    ("given", "labels"),
    [
        ({}, {"worker_addr": "grpc://127.0.0.1:8001"}),
        ({"grpc_host": "::1"}, {"worker_addr": "grpc://[::1]:8001"}),
        ({"worker_addr": "w", "label": ["a=1"]}, {"worker_addr": "w", "a": "1"}),
        ({"no_worker_addr_label": True, "label": ["a=1"]}, {"a": "1"}),
        ({"no_worker_addr_label": True}, {}),
    ],
)
def test_static_labels(given: Mapping[str, Any], labels: dict[str, str]) -> None:
    assert load({**WORKER, **given}).static_labels == labels


# --- The example files ---


@pytest.mark.parametrize("name", ["smg-exporter.toml", "smg-exporter.yaml"])
def test_the_example_files_show_every_option_at_its_default(name: str) -> None:
    file = CONFIG / name
    settings = load({**WORKER, "config": str(file)})
    assert settings.model_copy(update={"config": None}) == load(WORKER)
    names = {
        line.lstrip("# [").split("]")[0].split(":")[0].split(" =")[0]
        for line in file.read_text().splitlines()
    }
    assert set(Settings.model_fields) - {"config"} <= names
    with_default = {name for name, field in Settings.model_fields.items() if field.default is not None}
    assert with_default <= settings.model_fields_set
