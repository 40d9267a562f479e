"""What a value may be, wherever it is given."""

from typing import Any

import pytest

from exporter.errors import SettingsError
from exporter.options.node import NodeOptions
from exporter.options.sources import load
from exporter.options.values import Directory, Duration, Size
from exporter.options.worker import ServeOptions
from tests.support.settings import WORKER, given, problem, setenv


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.environ", {})


@pytest.mark.parametrize(
    ("name", "text", "value"),
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
        ("workers", "16", 16),
        ("speed", "0.5", 0.5),
    ],
)
def test_a_good_value(name: str, text: Any, value: object) -> None:
    assert getattr(load(*given(name, text)), name) == value


@pytest.mark.parametrize(
    ("text", "directory"),
    [
        ("/d", Directory("/d")),
        ("/d/", Directory("/d")),
        ("d/dp*,rank=0", Directory("d/dp*", (("rank", "0"),))),
        ("/d,rank=0,zone=a b", Directory("/d", (("rank", "0"), ("zone", "a b")))),
        ("/a,b=c,d", Directory("/a,b=c,d")),
        ("/a,b,c=1", Directory("/a,b", (("c", "1"),))),
        ("/a=b", Directory("/a=b")),
    ],
)
def test_a_directory_may_have_labels(text: str, directory: Directory) -> None:
    assert load(ServeOptions, {"grpc_port": "1", "multiproc_dir": [text]}).multiproc_dir == (directory,)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("/d,rank=", "'rank=' is not NAME=VALUE, the name of letters, digits and _, the value a text"),
        ("/d,a-b=1", "'a-b=1' is not NAME=VALUE, the name of letters, digits and _, the value a text"),
        ("/d,pid=1", "'pid=1' is not allowed: le, quantile, pid, worker_addr and __* are taken"),
        ("/d,x=1,x=2", "'x=2' is not allowed: x has a value, '1'"),
        (",rank=0", "',rank=0' is not DIR or DIR,LABEL=VALUE: it names no directory"),
    ],
)
def test_a_directory_with_bad_labels(text: str, reason: str) -> None:
    assert problem({"grpc_port": "1", "multiproc_dir": ["/d", text]}) == f"--multiproc-dir: {reason}"


def test_labels_keep_their_order() -> None:
    loaded = load(ServeOptions, {**WORKER, "label": ["z=1", "a=2", "m=3"]})
    assert list(loaded.static_labels) == ["worker_addr", "z", "a", "m"]


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
    ("workers", "17", "is not a number from 1 to 16"),
    ("speed", "11", "is not a number from 0.1 to 10"),
    ("rounds", "0", "is not a number from 1 to 1000000"),
    ("user", "a:b", "is not a user's name"),
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
    options, line = given(name, value)
    assert problem(line, options).startswith(expected(spelling, value, allowed))


@pytest.mark.parametrize(("name", "value", "allowed"), BAD_ITEMS)
def test_a_bad_item_on_the_command_line(name: str, value: str, allowed: str) -> None:
    spelling = "--" + name.replace("_", "-")
    assert problem({**WORKER, name: [value]}).startswith(expected(spelling, value, allowed))


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [bad for bad in BAD_VALUES + BAD_ITEMS if bad[1] and "\0" not in bad[1]],  # what an environment can hold
)
def test_a_bad_value_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, allowed: str
) -> None:
    variable = f"SMG_EXPORTER_{name.upper()}"
    setenv(monkeypatch, PROMETHEUS_MULTIPROC_DIR="/d", **{"SMG_EXPORTER_GRPC_PORT": "1", variable: value})
    assert problem({}, given(name, value)[0]).startswith(expected(variable, value, allowed))


@pytest.mark.parametrize(
    ("text", "seconds", "shown"),
    [("90", 90, "90s"), ("90s", 90, "90s"), ("5m", 300, "5m"), ("2h", 7200, "2h")],
)
def test_a_duration_has_a_unit_or_is_in_seconds(text: str, seconds: float, shown: str) -> None:
    found = load(NodeOptions, {"forget_after": text}).forget_after
    assert (found, str(found)) == (seconds, shown)
    assert isinstance(found, Duration)


@pytest.mark.parametrize("text", ["5x", "0", "25h", "-1m", "1.5m"])
def test_a_bad_duration(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(NodeOptions, {"forget_after": text})
    assert (
        str(caught.value) == f"--forget-after: {text!r} is not a duration from 1s to 24h, such as 90s or 5m"
    )


def test_a_pattern_is_a_regular_expression() -> None:
    assert load(NodeOptions, {"match": "sglang|vllm"}).match == "sglang|vllm"
    with pytest.raises(SettingsError, match="is not a regular expression"):
        load(NodeOptions, {"ignore": "("})


@pytest.mark.parametrize(
    ("size", "text"),
    [(256 << 20, "256MiB"), (1 << 30, "1GiB"), (1023, "1023B"), (1536, "1536B"), (1 << 50, "1024TiB")],
)
def test_a_size_is_shown_as_it_is_written(size: int, text: str) -> None:
    assert str(Size(size)) == text
