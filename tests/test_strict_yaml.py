"""YAML as people write it: what is a fault, and where."""

import pytest

from exporter.strict_yaml import InvalidYAMLError, load


def test_what_is_yaml_has_its_value() -> None:
    assert load("a: {b: [1, x]}\nc: on\n") == {"a": {"b": [1, "x"]}, "c": True}
    assert load("# nothing\n") is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3: 'a' is given twice"),
        ("a:\n  b: {c: 1, c: 1}\n", "line 2: 'c' is given twice"),
        ("- [x]\n- {'x': 1, \"x\": 2}\n", "line 2: 'x' is given twice"),
        ("a: 1\n b: secret\n", "line 2: mapping values are not allowed here"),
        ("a: !secret b\n", "line 1: could not determine a constructor for the tag '!secret'"),
    ],
)
def test_a_fault_has_its_line(text: str, problem: str) -> None:
    with pytest.raises(InvalidYAMLError) as caught:
        load(text)
    assert str(caught.value) == problem


def test_the_same_key_in_two_mappings_is_none() -> None:
    assert load("[{a: 1}, {a: 2}]") == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("text", ["password: 2024-99-99", "password: \x01", "[" * 10_000])
def test_what_has_no_line_quotes_nothing(text: str) -> None:
    with pytest.raises(
        InvalidYAMLError, match=r"^a value or a character in it is not allowed, or it is nested"
    ):
        load(text)
