"""YAML for hand-written files: duplicate keys are errors, and errors have a line number."""

from typing import Any

import yaml


class InvalidYAMLError(ValueError):
    """Invalid YAML; its str is one line, with the line number if known.

    It quotes only keys of the text: values may be secrets.
    """


def load(text: str | bytes) -> Any:
    """Parse a text; InvalidYAMLError if it is invalid."""
    try:
        return _Loader(text).get_single_data()
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise InvalidYAMLError(f"{line}{error.problem}") from None
    except Exception:  # noqa: BLE001 - PyYAML lets many through: IndexError for `!!int ""`; their messages quote the text
        raise InvalidYAMLError(
            "a value or a character in it is not allowed, or it is nested too deeply"
        ) from None


class _Loader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        seen = set()
        for key, _ in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else key
            if name in seen:
                raise yaml.MarkedYAMLError(problem=f"{name!r} is given twice", problem_mark=key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)
