"""Every option, once: name, type, default and meaning. The only reader of the environment, but for systemd's protocol.

A value comes from the command line, else `SMG_EXPORTER_<NAME>`, else the `--config` file, else the default.
"""

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, JsonValue, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from exporter import addresses
from exporter.errors import SettingsError
from exporter.values import (
    Bytes,
    Collector,
    File,
    Format,
    Host,
    Hosts,
    Labels,
    Liveness,
    LogFormat,
    LogLevel,
    Port,
    Ranks,
    Refresh,
    Requests,
    Rounds,
    Size,
    Switch,
    TargetTimeout,
    Text,
    Url,
    UrlPath,
    WhenDown,
    Workers,
)

ENV_PREFIX = "SMG_EXPORTER_"
FALLBACK_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
DEMO_GRPC_PORT = 8001
# Kubernetes sets these in every pod beside a Service named smg-exporter...; they are nobody's mistake.
_SERVICE_LINK = re.compile(
    r"(\w+_)?(SERVICE_HOST|SERVICE_PORT\w*|PORT_\d+_(TCP|UDP|SCTP)\w*)=.*|(\w+_)?PORT=\w+://.*"
)


def option(group: str, meaning: str, metavar: str = "", *, default: object = None, shown: str = "") -> Any:
    """Return a field with its words in `--help`, `shown` for a default that is no plain value."""
    presentation: dict[str, JsonValue] = {
        "group": group,
        "metavar": metavar,
        "default": shown or str(default),
    }
    return Field(default=default, description=meaning, json_schema_extra=presentation)


class Settings(BaseSettings):
    """Every option of every command, validated; made by `load`."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, enable_decoding=False, validate_default=False, extra="forbid", frozen=True
    )

    grpc_port: Port | None = option("worker", "the worker's gRPC port", "PORT", shown="required")
    grpc_host: Host = option("worker", "the worker's host, for worker_addr", "HOST", default="127.0.0.1")
    worker_addr: Text | None = option("worker", "the worker_addr label", "ADDRESS", shown="grpc://HOST:PORT")
    no_worker_addr_label: Switch = option(
        "worker", "leave that label out, where the scraper adds its own", default=False
    )
    multiproc_dir: File | None = option(
        "worker", "directory of its .db files", "DIR", shown=f"${FALLBACK_DIRECTORY}"
    )

    listen_host: Hosts = option(
        "listening",
        "address to listen on; repeatable",
        "HOST",
        default=(),
        shown="all interfaces, IPv4 and IPv6",
    )
    listen_port: Port | None = option(
        "listening",
        "port to listen on",
        "PORT",
        shown="gRPC port + 10000; - 10000 where that passes 65535; fleet: 29010",
    )
    telemetry_path: UrlPath = option("listening", "the path of the metrics", "PATH", default="/metrics")
    web_config: File | None = option(
        "listening", "TLS and users, in Prometheus' web configuration file format", "FILE", shown="none"
    )

    label: Labels = option(
        "merging", "static label on every series; repeatable", "NAME=VALUE", default={}, shown="none"
    )
    per_process: Switch = option(
        "merging", "merge nothing: one series per process, each with a pid label", default=False
    )
    liveness: Liveness = option(
        "merging", "whether a writer's pid is looked up in this pid namespace", default="auto"
    )
    when_worker_down: WhenDown = option(
        "merging", "what becomes of gauges once every writer has died", default="drop-gauges"
    )
    collector: Collector = option(
        "merging", "stock is prometheus_client's own merge, for comparison", default="incremental"
    )

    max_requests: Requests = option("limits", "scrapes in flight; beyond that 503", "N", default=40)
    max_file_size: Bytes = option("limits", "larger .db files are skipped", "SIZE", default=Size(256 << 20))

    no_self_metrics: Switch = option("output", "leave out the exporter's own metrics", default=False)
    log_level: LogLevel = option("output", "the least severe events to log", default="info")
    log_format: LogFormat = option("output", "what a log line looks like", default="logfmt")

    config: File | None = option("general", "TOML or YAML file of these options", "FILE", shown="none")

    format: Format = option("one command only", "dump: the format to print", default="text")
    ranks: Ranks = option("one command only", "demo: the number of schedulers", "N", default=2)
    rounds: Rounds = option("one command only", "verify: how often to compare", "N", default=1)

    worker: Workers = option(
        "fleet only",
        "worker to scrape, and its metrics URL where it is not the usual; repeatable",
        "URL[=METRICS]",
        default=(),
        shown="none",
    )
    workers_file: File | None = option(
        "fleet only",
        "workers to scrape, in Prometheus' file_sd format; re-read on change",
        "FILE",
        shown="none",
    )
    smg_url: Url | None = option("fleet only", "SMG gateway to ask for its workers", "URL", shown="none")
    smg_api_key_file: File | None = option(
        "fleet only", "API key for that gateway, sent to nobody else", "FILE", shown="none"
    )
    smg_refresh: Refresh = option("fleet only", "how often to ask it", "SECONDS", default=10.0)
    target_timeout: TargetTimeout = option(
        "fleet only", "how long one worker may take", "SECONDS", default=5.0
    )
    max_target_bytes: Bytes = option(
        "fleet only", "larger answers of a worker are refused", "SIZE", default=Size(64 << 20)
    )
    target_ca_file: File | None = option(
        "fleet only", "certificate authorities of https workers", "FILE", shown="the system's"
    )

    @property
    def directory(self) -> Path:
        """The worker's directory, where the command needs one; else it may raise SettingsError."""
        if self.multiproc_dir is None:
            raise SettingsError(_missing("multiproc_dir"))
        return self.multiproc_dir

    @property
    def worker_port(self) -> int:
        """The worker's gRPC port, where the command needs one; else it may raise SettingsError."""
        if self.grpc_port is None:
            raise SettingsError(_missing("grpc_port"))
        return self.grpc_port

    @property
    def worker_address(self) -> str:
        """The value of the `worker_addr` label."""
        return self.worker_addr or addresses.worker_address(self.grpc_host, self.worker_port)

    @property
    def metrics_port(self) -> int:
        """The port to listen on."""
        return self.listen_port or addresses.derived_metrics_port(self.worker_port)

    @property
    def port_rule(self) -> str:
        """What chose `metrics_port`, to end a sentence with."""
        if self.listen_port:
            return "chosen by --listen-port"
        return f"derived from --grpc-port {self.worker_port} ({self.metrics_port - self.worker_port:+d})"

    @property
    def static_labels(self) -> dict[str, str]:
        """The labels of every series, in order."""
        return ({} if self.no_worker_addr_label else {"worker_addr": self.worker_address}) | self.label

    @classmethod
    def settings_customise_sources(  # noqa: D102 - pydantic-settings' hook
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - named by pydantic-settings
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - named by pydantic-settings
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        weaker = _file_values(init_settings()), _fallbacks()
        return (init_settings, env_settings, *(InitSettingsSource(settings_cls, values) for values in weaker))


def load(command_line: Mapping[str, str | list[str] | bool], command: str = "serve") -> Settings:
    """Return the settings of a command; `command_line` holds the options given there, by field name.

    Raises SettingsError with every problem found.
    """
    problems = _unknown_variables()
    values: dict[str, Any] = dict(command_line)
    try:
        settings = Settings(**values)
    except ValidationError as error:
        spellings = _spellings(command_line)
        problems += [_problem(detail, spellings) for detail in error.errors()]
        raise SettingsError("\n".join(problems)) from None
    if command == "fleet" and not (settings.worker or settings.workers_file or settings.smg_url):
        problems.append(f"{_missing('worker')}; or --workers-file, or --smg-url")
    if command == "demo" and settings.grpc_port is None:
        settings = settings.model_copy(update={"grpc_port": DEMO_GRPC_PORT})
    problems += [_missing(name) for name in _required(settings, command) if getattr(settings, name) is None]
    if problems:
        raise SettingsError("\n".join(problems))
    return settings


def flag(name: str) -> str:
    """Return a field's name as the command line spells it: `--grpc-port`."""
    return "--" + name.replace("_", "-")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: the nearest known one, if one is near."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _variable(name: str) -> str:
    return ENV_PREFIX + name.upper()


def _required(settings: Settings, command: str) -> list[str]:
    derives_label = not (settings.no_worker_addr_label or settings.worker_addr)
    needs_port = command in {"serve", "check"} or (command == "dump" and derives_label)
    needs_directory = command not in {"demo", "fleet"}
    return ["grpc_port"] * needs_port + ["multiproc_dir"] * needs_directory


def _missing(name: str) -> str:
    fallback = f" or {FALLBACK_DIRECTORY}" if name == "multiproc_dir" else ""
    return f"{flag(name)}: required; or set {_variable(name)}{fallback}, or {name} in the --config file"


def _own_variables() -> dict[str, str]:
    """Return the environment's `SMG_EXPORTER_*` by field name, in any case, as pydantic-settings does."""
    prefix = ENV_PREFIX.lower()
    lowered = {name.lower(): value for name, value in os.environ.items()}
    return {name.removeprefix(prefix): value for name, value in lowered.items() if name.startswith(prefix)}


def _unknown_variables() -> list[str]:
    known = [_variable(name) for name in Settings.model_fields]
    return [
        f"{_variable(name)}: no such option{did_you_mean(_variable(name), known)}"
        for name, value in _own_variables().items()
        if name not in Settings.model_fields and not _SERVICE_LINK.fullmatch(f"{name.upper()}={value}")
    ]


def _fallbacks() -> dict[str, str]:
    directory = os.environ.get(FALLBACK_DIRECTORY)
    return {"multiproc_dir": directory} if directory else {}


def _config_file(command_line: Mapping[str, Any]) -> str | None:
    file: str | None = command_line.get("config", _own_variables().get("config"))
    return file


def _file_values(command_line: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the config file says; nothing where there is none."""
    file = _config_file(command_line)
    if file is None:
        return {}
    spelling = flag("config") if "config" in command_line else _variable("config")
    try:
        values = _parse(Path(file))
    except OSError as error:
        raise SettingsError(f"{spelling}: {file!r} is not readable: {error.strerror}") from None
    except ValueError as error:
        raise SettingsError(f"{spelling}: {file!r} is not {' '.join(str(error).split())}") from None
    if "config" in values:
        raise SettingsError(f"config in {file}: {values['config']!r} is not read: a file names no other file")
    return values


def _parse(file: Path) -> dict[str, Any]:
    """Return a file's top level; ValueError says what the file is not."""
    if file.suffix == ".toml":
        import tomllib  # noqa: PLC0415 - only a file of its kind pays for the parser

        try:
            return tomllib.loads(file.read_text("utf-8"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"valid TOML: {error}") from None
    if file.suffix not in {".yaml", ".yml"}:
        raise ValueError("a .toml, .yaml or .yml file")
    import yaml  # noqa: PLC0415 - only a file of its kind pays for the parser

    try:
        values = yaml.safe_load(file.read_text("utf-8"))
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise ValueError(f"valid YAML: {error}") from None
    if values is None:  # only comments
        return {}
    if not isinstance(values, dict):
        raise ValueError("a mapping of options")  # noqa: TRY004 - one kind of fault for the caller
    return {str(name): value for name, value in values.items()}


def _spellings(command_line: Mapping[str, Any]) -> dict[str, str]:
    """Return how the user wrote each option that was given, by field name."""
    file = _config_file(command_line)
    return (
        dict.fromkeys(_fallbacks(), FALLBACK_DIRECTORY)
        | {name: f"{name} in {file}" for name in _file_values(command_line)}
        | {name: _variable(name) for name in _own_variables()}
        | {name: flag(name) for name in command_line}
    )


def _problem(detail: ErrorDetails, spellings: Mapping[str, str]) -> str:
    name = str(detail["loc"][0])
    match detail["type"]:
        case "extra_forbidden":
            reason = f"no such option{did_you_mean(name, Settings.model_fields)}"
        case "literal_error":
            reason = f"{detail['input']!r} is not {detail['ctx']['expected']}"
        case _:
            reason = detail["msg"].removeprefix("Value error, ")
    return f"{spellings.get(name, name)}: {reason}"
