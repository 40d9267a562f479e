"""The tests mirror the package: exporter/<path>/<name>.py is tested by tests/<path>/test_<name>.py."""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "exporter"

FEW = 2
"""Statements of a function, up to which it is too plain to be tested apart."""
NOT_MIRRORED = {"benchmarks", "cases", "deploy", "peers", "soak"}
"""Folders of tests that are of no module: of other programs, and of ours as a whole."""
OF_NO_MODULE = {
    "demo/test_demo.py": "demo/__init__.py, which has its name from the folder",
    "multiproc/test_equal_to_stock.py": "the whole engine, on random metrics",
    "multiproc/test_fuzz.py": "the whole engine, on damaged bytes",
    "multiproc/test_interleavings.py": "the whole engine, through random histories",
    "multiproc/test_read_only.py": "the whole engine changes nothing in a worker's directory",
    "multiproc/test_recorded.py": "the whole engine, on recorded directories",
    "node/test_host.py": "node and serve as programs, on a host with three workers",
    "test_golden.py": "the whole program's answers",
    "test_imports.py": "the package's imports",
    "test_locks.py": "the locked versions",
    "test_mirror.py": "this",
    "test_readme.py": "the documents",
}


def modules() -> dict[str, Path]:
    """Return each module's file by the test file that is its own."""
    return {
        str(path.relative_to(PACKAGE).with_name(f"test_{path.name}")): path
        for path in PACKAGE.rglob("*.py")
        if not path.name.startswith("__")
    }


def has_substance(path: Path) -> bool:
    """Whether a module has a function of more than a `FEW` statements."""
    functions = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return any(statements(function) > FEW for function in functions)


def statements(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return how many statements a function has, nested ones too, but for its docstring."""
    inside = [part for child in function.body for part in ast.walk(child) if isinstance(part, ast.stmt)]
    return len(inside) - (ast.get_docstring(function) is not None)


def files_of_tests() -> set[str]:
    """Return the test files of all folders that are mirrored."""
    found = {path.relative_to(TESTS) for path in TESTS.rglob("test_*.py")}
    return {str(file) for file in found if file.parts[0] not in NOT_MIRRORED}


@pytest.mark.parametrize("file", sorted(name for name, path in modules().items() if has_substance(path)))
def test_a_module_of_substance_has_its_test_file(file: str) -> None:
    assert (TESTS / file).exists()


def test_a_test_file_is_a_modules_or_has_a_reason() -> None:
    assert files_of_tests() - modules().keys() == OF_NO_MODULE.keys()
