"""Targets from a workers file, in the form of Prometheus' file_sd."""

import json
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from exporter import strict_yaml
from exporter.fleet.sources import MAX_SIZE, SourceError
from exporter.fleet.targets import Target, TargetError, attempt, from_file
from exporter.threads import in_thread

INTERVAL = 1.0
"""Seconds between two reads of a workers file."""


class WorkersFile:
    """A workers file, in the form of Prometheus' file_sd, JSON or YAML."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._content: bytes | None = None
        self._found: list[Target | TargetError] = []

    async def read(self) -> Iterable[Target | TargetError]:
        """Return the targets in the file; raises SourceError if it is missing or malformed."""
        return await in_thread(self._read)

    def _read(self) -> list[Target | TargetError]:
        try:
            with self._path.open("rb") as file:
                content = file.read(MAX_SIZE + 1)
        except OSError as error:
            self._content = None
            raise SourceError(f"{self._path}: {error.strerror}") from None
        if content != self._content:
            self._found = self._parse(content)
            self._content = content
        return self._found

    def _parse(self, content: bytes) -> list[Target | TargetError]:
        if len(content) > MAX_SIZE:
            raise SourceError(f"{self._path}: larger than {MAX_SIZE >> 20} MiB")
        try:
            is_json = self._path.suffix == ".json"
            groups = json.loads(content, object_pairs_hook=_mapping) if is_json else strict_yaml.load(content)
        except (ValueError, RecursionError) as error:  # InvalidYAMLError is a ValueError
            reason = " ".join(str(error).split())
            raise SourceError(f"{self._path}: {reason}") from None
        if not isinstance(groups, list):
            raise SourceError(f"{self._path}: not a list of target groups")
        return [entry for group in groups for entry in self._group(group)]

    def _group(self, group: object) -> list[Target | TargetError]:
        if not isinstance(group, dict) or not isinstance(group.get("targets"), list):
            raise SourceError(f"{self._path}: a group has no list of targets")
        labels = group.get("labels") or {}
        if not isinstance(labels, dict):
            raise SourceError(f"{self._path}: the labels of a group are not a mapping")
        return [attempt(partial(from_file, text, labels)) for text in group["targets"]]


def _mapping(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    """Return a JSON object's pairs as a mapping; ValueError if a name is given twice, as in YAML."""
    values: dict[str, object] = {}
    for name, value in pairs:
        if name in values:
            raise ValueError(f"{name!r} is given twice")
        values[name] = value
    return values
