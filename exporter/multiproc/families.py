"""All families of a worker: where each entry of each file belongs."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache

from exporter.multiproc.dbfile import BadKeyError, Key, parse_key
from exporter.multiproc.merge import RULES
from exporter.multiproc.series import SUM, Family, Labels, Series

_SAMPLE_SUFFIXES = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_sum"),
    "summary": ("_count", "_sum"),
}
"""What follows the family's name in the names of the samples that a file of a type holds."""

_NAME_SUFFIXES = {
    "counter": ("", "_total"),
    "gauge": ("",),
    "histogram": ("", "_bucket", "_count", "_sum"),
    "summary": ("", "_count", "_sum"),
}
"""What follows it in all the names that a family takes up in some exposition."""


class Families:
    """The families by name. No name is used twice, and all entries of a family come from one kind of file."""

    def __init__(
        self, added_labels: Collection[tuple[str, str]], reserved: Iterable[str], *, per_process: bool
    ) -> None:
        """Add those labels to every series, and a pid where `per_process`; leave the reserved names to others."""
        self._added_labels = added_labels
        self._per_process = per_process
        self._families: dict[str, Family] = {}
        self._users = dict.fromkeys(reserved, "the exporter itself")

    def __iter__(self) -> Iterator[Family]:
        """Yield the families by name."""
        return (self._families[name] for name in sorted(self._families))

    def place(self, kind: str, pid: str, raw_key: bytes) -> tuple[Series, float]:
        """Return the series and the column that an entry belongs to, made if need be; raises BadKeyError."""
        key = parse_key(raw_key)
        name, column, own_labels = _split(key, kind)
        labels = self._labels(own_labels, kind, pid)
        return self._family(key.family, key.help, kind).find(name, labels), column

    def keep_constants(self, before: "Families") -> None:
        """Keep the shares that files gone had in the sums `before`: a counter does not fall while its worker lives."""
        for old_family in before:
            if old_family.type == "gauge":
                continue
            with suppress(BadKeyError):  # another kind of family has the name now
                family = self._family(old_family.name, old_family.help, old_family.kind)
                for old in old_family:
                    if old.base:
                        family.find(old.name, old.labels).keep_constants(old)

    def _family(self, name: str, help_text: str, kind: str) -> Family:
        family = self._families.get(name)
        if family is None:
            family = Family(name, help_text, kind)
            names = [name + suffix for suffix in _NAME_SUFFIXES[family.type]]
            for taken in filter(self._users.get, names):
                raise BadKeyError(
                    "name_conflict", f"{name!r} would use the name {taken!r} of {self._users[taken]}"
                )
            self._users.update(dict.fromkeys(names, f"the {family.type} {name!r}"))
            self._families[name] = family
        if family.kind != kind:
            reason = "type_conflict" if family.type != RULES[kind].type else "mode_conflict"
            raise BadKeyError(reason, f"{name!r} is in {kind} and {family.kind} files")
        return family

    def _labels(self, own: Mapping[str, str], kind: str, pid: str) -> Labels:
        rule = RULES[kind]
        if rule.per_process or self._per_process:
            return add_labels(own, [("pid", pid), *self._added_labels])
        if rule.type == "gauge":  # as the stock collector does, whatever wrote the label
            own = {name: value for name, value in own.items() if name != "pid"}
        return add_labels(own, self._added_labels)


def _split(key: Key, kind: str) -> tuple[str, float, Mapping[str, str]]:
    """Return the name and labels of the entry's series, and the entry's column in it."""
    metric_type = RULES[kind].type
    suffix = key.sample.removeprefix(key.family)
    if not key.sample.startswith(key.family) or suffix not in _SAMPLE_SUFFIXES[metric_type]:
        raise BadKeyError("bad_key", f"{key.sample!r} is no sample of a {metric_type} {key.family!r}")
    if metric_type != "histogram":
        return key.sample, 0.0, key.labels
    if suffix == "_sum":
        return key.family, SUM, key.labels
    try:
        bound = float(key.labels["le"])
    except (KeyError, ValueError):
        bound = math.nan
    if not bound > SUM:
        raise BadKeyError("bad_key", f"a bucket of {key.family!r} has no upper bound `le`")
    return key.family, bound, {name: value for name, value in key.labels.items() if name != "le"}


def add_labels(own: Mapping[str, str], added: Iterable[tuple[str, str]]) -> Labels:
    """Add labels; an own one of an added name moves to `exported_<name>`, as Prometheus does it."""
    labels = dict(own)
    for name, value in added:
        if name in labels:
            kept = name
            while kept in labels:
                kept = f"exported_{kept}"
            labels[kept] = labels[name]
        labels[name] = value
    return tuple(map(_pair, sorted(labels.items())))


@lru_cache(maxsize=4096)
def _pair(label: tuple[str, str]) -> tuple[str, str]:
    return label  # the same object for equal labels: most series share most of theirs
