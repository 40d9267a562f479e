"""Which options of `top` go together."""

import pytest

from exporter.options.top import TopOptions


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (TopOptions(), []),
        (TopOptions(grpc_port=1), []),
        (TopOptions(url=("http://h/metrics",), once=True, json=True), ["once"]),
        (TopOptions(listen_port=1, user="u"), ["user"]),
    ],
)
def test_what_is_missing_or_contradicts(options: TopOptions, names: list[str]) -> None:
    assert [name for name, _ in options.problems()] == names
