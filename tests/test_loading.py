"""Loading a command's code, each time in a new process: what is loaded already would not be loaded again."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(code: str) -> str:
    """Return what a script prints after it has loaded `serve`."""
    before = "import gc, ssl, sys\nfrom exporter.loading import load\n"
    words = [sys.executable, "-c", f"{before}{code}"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=30, check=True)
    return done.stdout.strip()


def test_no_certificates_are_loaded_but_for_those_who_want_some() -> None:
    printed = run("""
default = ssl.SSLContext.set_default_verify_paths
load("exporter.worker.serve:serve")
from aiohttp import connector
print(connector._SSL_CONTEXT_VERIFIED.cert_store_stats()["x509"], ssl.SSLContext.set_default_verify_paths is default)
""")
    assert printed == "0 True"


def test_garbage_is_collected_from_then_on_but_not_of_what_was_there() -> None:
    printed = run("""
gc.disable()
serve = load("exporter.worker.serve:serve")
print(callable(serve), gc.isenabled(), gc.get_freeze_count() > 10_000)
""")
    assert printed == "True True True"


@pytest.mark.parametrize("part", ["discovery", "scraping", "node", "fleet", "demo", "top"])
def test_serve_loads_no_part_that_few_workers_need(part: str) -> None:
    assert run(f'load("exporter.worker.serve:serve"); print("exporter.{part}" in sys.modules)') == "False"
