"""What an option is: its description, its spellings, and the base of every command's options.

A command's options are a frozen dataclass that inherits from groups of options shared with other commands. `sources`
fills them in, and only it imports pydantic: daemons keep these classes loaded, and pydantic takes much memory.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from typing import Any, Literal, NamedTuple, TypeAlias, get_args, get_origin, get_type_hints

from exporter.options.values import File

ENV_PREFIX = "SMG_EXPORTER_"
GROUPS = ("worker", "workers", "listening", "authentication", "metrics", "limits", "output", "general")
"""The titles under which `--help` lists options, in order."""

Problem: TypeAlias = tuple[str, str]
"""An option's name, and how it conflicts with other options or why it is missing."""


class Option(NamedTuple):
    """An option's description, for `--help`, completion and messages."""

    group: str
    meaning: str
    metavar: str
    default: str
    """As `--help` shows it."""
    name: str = ""
    type: Any = None
    """The type of its values, without `| None`."""

    @property
    def choices(self) -> tuple[str, ...]:
        """All allowed values, if the type is a Literal; else empty."""
        return get_args(self.type) if get_origin(self.type) is Literal else ()

    @property
    def is_switch(self) -> bool:
        """Whether it takes no value on the command line."""
        return self.type is bool

    @property
    def is_repeatable(self) -> bool:
        """Whether it may be given more than once."""
        return get_origin(self.type) in {tuple, dict}


def option(
    group: str,
    meaning: str,
    metavar: str = "",
    *,
    default: object = None,
    factory: Callable[[], object] | None = None,
    shown: str = "",
) -> Any:
    """Return a dataclass field with its description. `shown` is the default as `--help` shows it, if not `default`."""
    described = {"option": Option(group, meaning, metavar, shown or str(default))}
    if factory:
        return field(default_factory=factory, metadata=described)
    return field(default=default, metadata=described)


def flag(name: str) -> str:
    """Return an option's name as the command line spells it: `--grpc-port`."""
    return "--" + name.replace("_", "-")


def variable(name: str) -> str:
    """Return an option's name as the environment spells it: `SMG_EXPORTER_GRPC_PORT`."""
    return ENV_PREFIX + name.upper()


def missing(name: str, *, fallback: str = "", instead: str = "") -> Problem:
    """Return the problem of a required option that is not given.

    `fallback` is another variable of the environment that counts as the option; `instead` names other options.
    """
    variables = f"{variable(name)} or {fallback}" if fallback else variable(name)
    reason = f"required; or set {variables}, or {name} in the --config file"
    return name, f"{reason}; or {instead}" if instead else reason


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of all commands."""

    config: File | None = option("general", "TOML or YAML file of these options", "FILE", shown="none")

    def problems(self) -> list[Problem]:
        """Return the options that are missing or contradict others."""
        return [*self._problems()]

    def _problems(self) -> Iterator[Problem]:
        yield from ()


def described(options: type[Options]) -> dict[str, Option]:
    """Return the descriptions of a command's options, by name, in the order of `--help`.

    Within a group of `GROUPS`, those of the last base class come first.
    """
    types = get_type_hints(options)
    found = [
        each.metadata["option"]._replace(name=each.name, type=_without_none(types[each.name]))
        for each in fields(options)
    ]
    found.sort(key=lambda each: GROUPS.index(each.group))
    return {each.name: each for each in found}


def _without_none(kind: Any) -> Any:
    """Return T for `T | None`."""
    kinds = [each for each in get_args(kind) if each is not type(None)]
    return kinds[0] if type(None) in get_args(kind) else kind
