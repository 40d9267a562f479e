"""Imports point one way, as docs/architecture.md draws it; read from the sources."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.options.commands import COMMANDS

PACKAGE = Path(__file__).parents[1] / "exporter"

# A part of the package, a module or a folder -> the parts that it may import.
ALLOWED: dict[str, set[str]] = {
    # The merge, the formats and the engine view know nothing of the rest but what metrics are, nor of each other.
    "model": set(),
    "multiproc": {"model"},
    "exposition": {"model"},
    "discovery": {"model"},
    "engine": {"model"},
    # Small things for everyone.
    "addresses": set(),
    "errors": set(),
    "logs": set(),
    "paths": set(),
    "printable": set(),
    "strict_yaml": set(),
    "threads": set(),
    # Expositions of other programs, read. It takes plain values, as web does.
    "scraping": {"errors", "model", "threads"},
    # What is on the command line, in environment and file.
    "options": {"addresses", "errors", "model", "paths", "strict_yaml"},
    "forked": set(),
    "loading": set(),
    # What the daemons share. They take plain values: no settings.
    "web": {"errors", "exposition", "logs", "paths", "printable", "strict_yaml", "threads"},
    "service": {
        "addresses",
        "engine",
        "errors",
        "logs",
        "model",
        "multiproc",
        "options",
        "paths",
        "printable",
        "threads",
        "web",
    },
    # The daemons and the commands.
    "worker": {
        "addresses",
        "discovery",
        "errors",
        "exposition",
        "logs",
        "model",
        "multiproc",
        "options",
        "paths",
        "printable",
        "scraping",
        "service",
        "threads",
        "web",
    },
    "node": {
        "addresses",
        "discovery",
        "errors",
        "exposition",
        "logs",
        "model",
        "multiproc",
        "options",
        "paths",
        "printable",
        "service",
        "threads",
        "web",
        "worker",
    },
    "fleet": {
        "addresses",
        "engine",
        "errors",
        "exposition",
        "logs",
        "model",
        "options",
        "paths",
        "printable",
        "scraping",
        "service",
        "strict_yaml",
        "threads",
        "web",
    },
    "top": {
        "addresses",
        "engine",
        "errors",
        "model",
        "options",
        "paths",
        "printable",
        "scraping",
        "service",
        "threads",
    },
    "demo": {"discovery", "logs", "node", "options", "service", "web", "worker"},
    "completion": {"options"},
    "cli": {"completion", "errors", "forked", "loading", "logs", "options"},
    "__main__": {"cli"},
}
PURE = ("model", "multiproc", "exposition", "discovery", "engine")
LOUD = {"asyncio", "aiohttp", "logging", "watchfiles", "threading", "concurrent"}


def part(module: str) -> str:
    """Return the part of the package that a module is of: `exporter.web.app` -> `web`."""
    return module.split(".")[1] if "." in module else ""


def parts() -> set[str]:
    return {
        path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }


def sources(name: str) -> Iterator[Path]:
    """Return the files of a part."""
    module = PACKAGE / f"{name}.py"
    yield from [module] if module.exists() else sorted((PACKAGE / name).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Return the modules that a file imports, anywhere in it; of `from exporter import x`, `exporter.x`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import says less than a whole name"
            assert node.module
            if node.module == "exporter":
                yield from (
                    f"exporter.{alias.name}"
                    for alias in node.names
                    if not (alias.name.startswith("__") or alias.name.isupper())
                )
            else:
                yield node.module


def test_each_part_has_its_place() -> None:
    assert parts() - {"__init__"} <= ALLOWED.keys()


@pytest.mark.parametrize("name", ALLOWED)
def test_a_part_imports_what_it_may(name: str) -> None:
    imported = {
        part(module) for path in sources(name) for module in imports(path) if module.startswith("exporter.")
    }
    assert imported - {name} <= ALLOWED[name], f"see where {name} stands in docs/architecture.md"


@pytest.mark.parametrize("name", PURE)
def test_the_pure_parts_know_no_loop_no_http_and_no_log(name: str) -> None:
    roots = {module.split(".")[0] for path in sources(name) for module in imports(path)}
    assert not roots & LOUD


def test_the_arrows_form_no_circle() -> None:
    left = {name: set(allowed) for name, allowed in ALLOWED.items()}
    while left:
        leaves = {name for name, allowed in left.items() if not allowed & left.keys()}
        assert leaves, f"a circle among {sorted(left)}"
        for name in leaves:
            del left[name]


def test_the_whole_package_is_looked_at() -> None:
    looked_at = {path for name in ALLOWED for path in sources(name)}
    assert looked_at == set(PACKAGE.rglob("*.py")) - {PACKAGE / "__init__.py"}


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_leads_to_a_function(command: str) -> None:
    module, _, function = COMMANDS[command].function.partition(":")
    assert callable(getattr(importlib.import_module(module), function))
