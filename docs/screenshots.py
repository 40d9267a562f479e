"""Takes the pictures of the pages in the documents: `make screenshots`.

A fleet of simulated workers runs for a while first, scraped as by a Prometheus, so that there is something to show.
"""

import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from tests.support.browser import Browser, browser
from tests.support.waiting import eventually

DOCS = Path(__file__).parent
PORT = 8001
WORKER = f"http://127.0.0.1:{PORT + 10000}/"
FLEET = "http://127.0.0.1:29010/"
SECONDS = 225.0
"""How long the workers run before the pictures are taken: a rush is over, and a rank lags."""
PERIOD = 2.0
HEIGHT = 1000


def main() -> None:
    """Run the workers, and write the pictures."""
    command = ["demo", f"--grpc-port={PORT}", "--ranks=4", "--workers=6"]
    demo = subprocess.Popen([sys.executable, "-m", "exporter", *command])
    try:
        eventually(is_there, "the workers run", within=60)
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            for page in (f"{WORKER}metrics", f"{FLEET}engine_metrics"):
                urllib.request.urlopen(page).close()  # noqa: S310 - our own, on this machine
            time.sleep(PERIOD)
        with browser() as chromium:
            take(chromium, WORKER, "engine-page.png")
            take(chromium, FLEET, "fleet-page.png", height=470)
    finally:
        demo.terminate()
        demo.wait()


def is_there() -> bool:
    """Return whether the fleet answers: it starts after its workers."""
    try:
        urllib.request.urlopen(FLEET).close()
    except OSError:
        return False
    return True


def take(chromium: Browser, url: str, name: str, *, height: int = HEIGHT) -> None:
    """Write a picture of a page's first screen, once it has refreshed twice."""
    with chromium.page(url, width=1280, height=height) as page:
        page.wait_for_timeout(2.5 * PERIOD * 1000)
        page.screenshot(path=DOCS / name)


if __name__ == "__main__":
    main()
