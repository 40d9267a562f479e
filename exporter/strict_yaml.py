"""YAML for files that people write: a key given twice is a fault, and a fault has its line."""

from typing import Any

import yaml


class InvalidYAMLError(ValueError):
    """A text that is no YAML; its str is one line, with the number of the line where that is known.

    It quotes nothing of the text but what a key is: there may be secrets.
    """


def load(text: str) -> Any:
    """Return the value of a text; InvalidYAMLError where it has none."""
    try:
        return _Loader(text).get_single_data()
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise InvalidYAMLError(f"{line}{error.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError):  # their words quote the text
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
