"""The types of options' values, and the parsers that make and validate them."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

from exporter import addresses, paths
from exporter.model import RESERVED_LABELS

SIZE_UNITS = {"TiB": 1 << 40, "GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10, "B": 1, "": 1}


class Size(int):
    """A number of bytes. Its str uses the largest unit that divides the number: `256MiB`."""

    __slots__ = ()

    def __str__(self) -> str:
        unit = next(unit for unit, factor in SIZE_UNITS.items() if self % factor == 0)
        return f"{self // SIZE_UNITS[unit]}{unit}"


_DURATION_UNITS = {"h": 3600, "m": 60, "s": 1, "": 1}


class Duration(float):
    """A number of seconds. Its str uses the largest unit that divides it: `5m`."""

    __slots__ = ()

    def __str__(self) -> str:
        unit = next(unit for unit, factor in _DURATION_UNITS.items() if self % factor == 0)
        return f"{self // _DURATION_UNITS[unit]:g}{unit}"


@dataclass(frozen=True)
class Parser:
    """Annotation of a type whose values pydantic makes with `parse`, and does not validate itself.

    pydantic is imported only when it asks for the schema: modules that only name the types do without its memory.
    """

    parse: Callable[[object], object]
    """Converts the value of an argument, variable or file, or raises ValueError("VALUE is not ALLOWED")."""

    def __get_pydantic_core_schema__(self, _source: object, _handler: object) -> Any:
        from pydantic_core import core_schema  # noqa: PLC0415 - see above

        return core_schema.no_info_plain_validator_function(self.parse)


class Directory(NamedTuple):
    """A worker's directory, or a pattern that several match, and the labels that tell the worker from others."""

    path: str
    labels: tuple[tuple[str, str], ...] = ()

    @property
    def is_pattern(self) -> bool:
        """Whether it may match directories with other paths than its own text."""
        return any(sign in self.path for sign in "*?[")


DirectoryTuple: TypeAlias = tuple[Directory, ...]


def whole(low: int, high: int, what: str = "a number") -> Parser:
    """Return a parser of whole numbers from `low` to `high`; `what` names them in errors."""

    def parse(value: object) -> int:
        if re.fullmatch("[0-9]{1,9}", str(value)) and low <= (number := int(str(value))) <= high:
            return number
        raise ValueError(f"{value!r} is not {what} from {low} to {high}")

    return Parser(parse)


def _text(value: object) -> str:
    # An argument that is not UTF-8 has surrogates; a path cannot have a NUL.
    if isinstance(value, str) and re.fullmatch("[^\0\ud800-\udfff]+", value):
        return value
    raise ValueError(f"{value!r} is not a text of UTF-8, one character or more")


def _switch(value: object) -> bool:
    if str(value).lower() not in {"true", "false"}:
        raise ValueError(f"{value!r} is not true or false")
    return str(value).lower() == "true"


def _size(value: object) -> Size:
    match = re.fullmatch("([0-9]{1,15}) ?([KMGT]iB|B|)", str(value))
    if match and int(match[1]):
        return Size(int(match[1]) * SIZE_UNITS[match[2]])
    raise ValueError(f"{value!r} is not a size above zero, such as 1048576, 256MiB or 1GiB")


def _url_path(value: object) -> str:
    if not re.fullmatch("/[A-Za-z0-9._~/-]*", _text(value)):
        raise ValueError(f"{value!r} is not a / followed by letters, digits and any of . _ ~ / -")
    if value in paths.PAGES:
        raise ValueError(f"{value!r} is not free: the exporter has its own {', '.join(paths.PAGES)}")
    return str(value)


def _items(value: object) -> list[str]:
    items = [item.strip() for item in value.split(",")] if isinstance(value, str) else value
    if not isinstance(items, list):
        raise ValueError(f"{value!r} is not a list")  # noqa: TRY004 - pydantic lets a TypeError through
    return [_text(item) for item in items]


def _labels(value: object) -> dict[str, str]:
    if isinstance(value, dict):
        given = [(f"{name}={text}", str(name), text) for name, text in value.items()]
    else:
        given = [(item, *item.partition("=")[::2]) for item in _items(value)]
    labels: dict[str, str] = {}
    for pair, name, text in given:
        if not re.fullmatch("[a-zA-Z_][a-zA-Z0-9_]*", name) or not isinstance(text, str) or not text:
            raise ValueError(
                f"{pair!r} is not NAME=VALUE, the name of letters, digits and _, the value a text"
            )
        if name.startswith("__") or name in RESERVED_LABELS:
            raise ValueError(f"{pair!r} is not allowed: {', '.join(RESERVED_LABELS)} and __* are taken")
        if name in labels:
            raise ValueError(f"{pair!r} is not allowed: {name} has a value, {labels[name]!r}")
        labels[name] = _text(text)
    return labels


def _directories(value: object) -> DirectoryTuple:
    if isinstance(value, tuple):  # as it is
        return value
    items = list(filter(None, value.splitlines())) or [value] if isinstance(value, str) else value
    if not isinstance(items, list):
        raise ValueError(f"{value!r} is not a directory or a list of directories")  # noqa: TRY004 - pydantic lets a TypeError through
    return tuple(_directory(_text(item)) for item in items)


def _directory(text: str) -> Directory:
    """Split `PATH,NAME=VALUE,...`; the path may have commas too."""
    path, *rest = text.split(",")
    pairs: list[str] = []
    while rest and "=" in rest[-1]:
        pairs.insert(0, rest.pop())
    if not (path or rest):
        raise ValueError(f"{text!r} is not DIR or DIR,LABEL=VALUE: it names no directory")
    return Directory(str(Path(",".join([path, *rest]))), tuple(_labels(pairs).items()))


def decimal(low: float, high: float, what: str = "a number of seconds") -> Parser:
    """Return a parser of numbers from `low` to `high`, with up to three decimals."""

    def parse(value: object) -> float:
        if (
            re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,3})?", str(value))
            and low <= (number := float(str(value))) <= high
        ):
            return number
        raise ValueError(f"{value!r} is not {what} from {low:g} to {high:g}")

    return Parser(parse)


def _pattern(value: object) -> str:
    try:
        re.compile(_text(value))
    except re.error as error:
        raise ValueError(f"{value!r} is not a regular expression: {error}") from None
    return str(value)


def duration(low: float, high: float) -> Parser:
    """Return a parser of durations from `low` to `high` seconds, such as `90s` or `5m`."""

    def parse(value: object) -> Duration:
        match = re.fullmatch(r"([0-9]{1,9})(s|m|h|)", str(value))
        if match and low <= (number := int(match[1]) * _DURATION_UNITS[match[2]]) <= high:
            return Duration(number)
        raise ValueError(
            f"{value!r} is not a duration from {Duration(low)} to {Duration(high)}, such as 90s or 5m"
        )

    return Parser(parse)


def _user(value: object) -> str:
    if ":" in _text(value):
        raise ValueError(f"{value!r} is not a user's name: it has a colon")
    return str(value)


def _workers(value: object) -> tuple[str, ...]:
    workers = tuple(_items(value))
    for worker in workers:
        addresses.worker_and_metrics_url(worker)  # raises AddressError, a ValueError
    return workers


def _urls(value: object) -> tuple[str, ...]:
    return tuple(map(addresses.metrics_url, _items(value)))


def _liveness(value: object) -> str:
    text = (
        ("off", "on")[value] if isinstance(value, bool) else value
    )  # YAML 1.1 reads unquoted on and off as booleans
    if text not in ("auto", "on", "off"):
        raise ValueError(f"{value!r} is not 'auto', 'on' or 'off'")
    return str(text)


Text = Annotated[str, Parser(_text)]
File = Annotated[Path, Parser(lambda value: Path(_text(value)))]
Directories = Annotated[DirectoryTuple, Parser(_directories)]
Port = Annotated[int, whole(1, addresses.MAX_PORT, "a port")]
Host = Annotated[str, Parser(lambda value: addresses.bare_host(_text(value)))]
Hosts = Annotated[tuple[str, ...], Parser(lambda value: tuple(map(addresses.bare_host, _items(value))))]
User = Annotated[str, Parser(_user)]
UrlPath = Annotated[str, Parser(_url_path)]
Url = Annotated[str, Parser(lambda value: addresses.http_url(_text(value)))]
Urls = Annotated[tuple[str, ...], Parser(_urls)]
Workers = Annotated[tuple[str, ...], Parser(_workers)]
Labels = Annotated[dict[str, str], Parser(_labels)]
Switch = Annotated[bool, Parser(_switch)]
Bytes = Annotated[Size, Parser(_size)]
Pattern = Annotated[str, Parser(_pattern)]
Liveness = Annotated[Literal["auto", "on", "off"], Parser(_liveness)]
