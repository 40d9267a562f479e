"""Golden cases: a folder each, with a `write.py` that writes files, and the expositions that they must give.

`expected[.ESCAPING].txt` is in the text format, `expected[.ESCAPING].om` in OpenMetrics. `pytest --update-golden`
rewrites those that exist; an empty file begins a new one.
"""

from importlib import import_module
from pathlib import Path

import pytest

from exporter.multiproc.collector import IncrementalCollector
from tests.support.compare import of_openmetrics, of_text, rendered

EXPECTED = sorted(Path(__file__).parent.glob("*/expected*"))


def test_every_case_expects_something() -> None:
    assert {path.parent for path in EXPECTED} == {
        path.parent for path in Path(__file__).parent.glob("*/write.py")
    }


@pytest.mark.parametrize("expected", EXPECTED, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_case(expected: Path, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    case = import_module(f"tests.cases.{expected.parent.name}.write")
    case.write(tmp_path)
    engine = IncrementalCollector(None, str(tmp_path), **getattr(case, "OPTIONS", {})).engine
    engine.update()
    _, *escaping, form = expected.name.split(".")
    text, openmetrics = rendered(engine.snapshot, *escaping)
    got = openmetrics if form == "om" else text
    (of_openmetrics if form == "om" else of_text)(got)  # what is expected is valid, too
    if pytestconfig.getoption("--update-golden"):
        expected.write_bytes(got)
    assert got.decode() == expected.read_text()
