"""Options as `--help` lists them."""

from dataclasses import dataclass, fields

import pytest

from exporter.options.commands import COMMANDS
from exporter.options.option import GROUPS, Options, described, option


@pytest.mark.parametrize("options", [each.options for each in COMMANDS.values()])
def test_they_are_told_in_order(options: type[Options]) -> None:
    said = [*described(options).values()]
    assert [GROUPS.index(option.group) for option in said] == sorted(
        GROUPS.index(option.group) for option in said
    )
    assert len(said) == len(fields(options))
    assert all(option.metavar or option.is_switch or option.choices for option in said)


def test_a_groups_options_are_in_the_order_of_inheritance_from_the_last_base_on() -> None:
    @dataclass(frozen=True, kw_only=True)
    class First(Options):
        a: int = option("worker", "a")
        b: int = option("limits", "b")

    @dataclass(frozen=True, kw_only=True)
    class Second(Options):
        c: int = option("worker", "c")

    @dataclass(frozen=True, kw_only=True)
    class Both(Second, First):
        d: int = option("worker", "d")

    assert list(described(Both)) == ["a", "c", "d", "b", "config"]
