"""Loads a command's options. No other module reads the environment, except `systemd`.

A value comes from the command line, else `SMG_EXPORTER_<NAME>`, else the `--config` file, else the default.
pydantic-settings combines the sources. Only this module imports it, and the program runs this module in a child process
to save memory (see `forked`).
"""

import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_type_hints

from pydantic import ValidationError, create_model
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from exporter.errors import SettingsError
from exporter.options.commands import ALL, no_such_option
from exporter.options.option import ENV_PREFIX, Options, described, flag, variable
from exporter.options.values import Directory
from exporter.options.worker import FALLBACK_DIRECTORY

OptionsT = TypeVar("OptionsT", bound=Options)

# Kubernetes sets these in every pod for a Service whose name begins with smg-exporter (enableServiceLinks): no error.
_SERVICE_LINK = re.compile(
    r"(\w+_)?(SERVICE_HOST|SERVICE_PORT\w*|PORT_\d+_(TCP|UDP|SCTP)\w*)=.*|(\w+_)?PORT=\w+://.*"
)


def load(options: type[OptionsT], command_line: Mapping[str, str | list[str] | bool]) -> OptionsT:
    """Return the options of a command; `command_line` holds the options given there, by name.

    SettingsError has a line for each problem.
    """
    environment = _environment()
    file = _read_file(command_line, environment)
    directory = os.environ.get(FALLBACK_DIRECTORY)
    fallbacks = {"multiproc_dir": (Directory(str(Path(directory))),)} if directory else {}
    spellings = (
        dict.fromkeys(fallbacks, FALLBACK_DIRECTORY)
        | {name: file.spelling(name) for name in file.values}
        | {name: variable(name) for name in environment}
        | {name: flag(name) for name in command_line}
    )
    problems = [
        f"{variable(name)}: {no_such_option(name, variable)}"
        for name, value in environment.items()
        if name not in ALL and not _SERVICE_LINK.fullmatch(f"{name.upper()}={value}")
    ]
    problems += [f"{file.spelling(name)}: {no_such_option(name)}" for name in file.values if name not in ALL]
    model = _model(options, file.values, fallbacks)
    values: dict[str, Any] = dict(command_line)
    try:
        valid = model(**values)
    except ValidationError as error:
        problems += [_problem(detail, spellings) for detail in error.errors()]
        raise SettingsError("\n".join(problems)) from None
    loaded = options(**{name: getattr(valid, name) for name in valid.model_fields_set})
    problems += [f"{spellings.get(name, flag(name))}: {reason}" for name, reason in loaded.problems()]
    if problems:
        raise SettingsError("\n".join(problems))
    return loaded


def _model(options: type[Options], *weaker: Mapping[str, Any]) -> type[BaseSettings]:
    """Return a pydantic model of a command's options; `weaker` sources come after the environment."""
    types = get_type_hints(options, include_extras=True)
    fields: dict[str, Any] = {name: (types[name], None) for name in described(options)}

    class Sources(BaseSettings):
        model_config = SettingsConfigDict(
            env_prefix=ENV_PREFIX, env_ignore_empty=True, enable_decoding=False, validate_default=False
        )

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - named by pydantic-settings
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - named by pydantic-settings
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            known = ({name: value for name, value in source.items() if name in fields} for source in weaker)
            return (init_settings, env_settings, *(InitSettingsSource(settings_cls, it) for it in known))

    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", UserWarning
        )  # an option may have the name of a method that pydantic gave up
        return create_model(options.__name__, __base__=Sources, **fields)


def _environment() -> dict[str, str]:
    """Return the values of `SMG_EXPORTER_*` by option name. As in pydantic-settings, the case does not matter.

    Empty variables count as unset.
    """
    prefix = ENV_PREFIX.lower()
    lowered = {name.lower(): value for name, value in os.environ.items() if value}
    return {name.removeprefix(prefix): value for name, value in lowered.items() if name.startswith(prefix)}


def _problem(detail: ErrorDetails, spellings: Mapping[str, str]) -> str:
    name = str(detail["loc"][0])
    if detail["type"] == "literal_error":
        reason = f"{detail['input']!r} is not {detail['ctx']['expected']}"
    else:
        reason = detail["msg"].removeprefix("Value error, ")
    return f"{spellings[name]}: {reason}"


# --- The config file ---


class _ConfigFile(NamedTuple):
    """The config file: its path, text and values."""

    path: str = ""
    text: str = ""
    values: Mapping[str, Any] = {}

    def spelling(self, name: str) -> str:
        """Return an option's place in the file, for messages: `grpc_port in smg-exporter.toml, line 3`."""
        # In TOML and YAML a top-level name begins its line, except in a mapping in braces.
        match = re.search(rf"""^[ \t\["'{{]*{re.escape(name)}\b""", self.text, re.MULTILINE)
        line = f", line {self.text.count(chr(10), 0, match.start()) + 1}" if match else ""
        return f"{name} in {self.path}{line}"


def _read_file(command_line: Mapping[str, Any], environment: Mapping[str, str]) -> _ConfigFile:
    """Return the config file; an empty one if none is given."""
    path = command_line.get("config", environment.get("config"))
    if path is None:
        return _ConfigFile()
    spelling = flag("config") if "config" in command_line else variable("config")
    try:
        text = _read(Path(path))
        file = _ConfigFile(path, text, _parse(Path(path), text))
    except OSError as error:
        raise SettingsError(f"{spelling}: {path!r} is not readable: {error.strerror}") from None
    except ValueError as error:
        raise SettingsError(f"{spelling}: {path!r} is not {' '.join(str(error).split())}") from None
    if "config" in file.values:
        value = file.values["config"]
        raise SettingsError(f"{file.spelling('config')}: {value!r} is not read: a file names no other file")
    return file


def _read(path: Path) -> str:
    if path.suffix not in {".toml", ".yaml", ".yml"}:
        raise ValueError("a .toml, .yaml or .yml file")
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"text in UTF-8: {error}") from None


def _parse(path: Path, text: str) -> dict[str, Any]:
    """Return a file's top-level values; ValueError ends the sentence `FILE is not ...`."""
    if path.suffix == ".toml":
        import tomllib  # noqa: PLC0415 - only TOML files need the parser

        try:
            return tomllib.loads(f"{text}\n")  # a mistake at the very end gets no line from tomllib
        except (ValueError, RecursionError) as error:
            raise ValueError(f"valid TOML: {error}{_near(text, error)}") from None
    from exporter import strict_yaml  # noqa: PLC0415 - as above

    try:
        values = strict_yaml.load(text)
    except strict_yaml.InvalidYAMLError as error:
        raise ValueError(f"valid YAML: {error}{_near(text, error)}") from None
    if values is None:  # only comments
        return {}
    if not isinstance(values, dict):
        raise ValueError("a mapping of options")  # noqa: TRY004 - the caller catches one type of error
    return {str(name): value for name, value in values.items()}


def _near(text: str, error: Exception) -> str:
    """Return `, near OPTION` if the line that an error names begins with an option; else an empty text.

    Nothing else of the line is quoted: it may be a secret.
    """
    found = re.search(r"\bline ([0-9]+)", str(error))
    number = int(found[1]) if found else 0
    line = "".join(text.split("\n")[number - 1 : number])
    name = re.split("[ \t:=]", line.strip(), maxsplit=1)[0]
    return f", near {name}" if name in ALL and name not in str(error) else ""
