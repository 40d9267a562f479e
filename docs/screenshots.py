"""Takes the pictures of the pages in the documents: `make screenshots`.

A simulated worker, and a node with several, run for a while first, as if a Prometheus scraped them: there has to be
something to show.
"""

import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path

from exporter.addresses import NODE_PORT
from tests.support.browser import Browser, browser
from tests.support.waiting import eventually

DOCS = Path(__file__).parent
WORKER = "http://127.0.0.1:18001/"
NODE = f"http://127.0.0.1:{NODE_PORT}/"
DEMOS = (["--ranks=4"], ["--ranks=4", "--workers=6", "--grpc-port=8101"])
SECONDS = 258.0
"""How long the workers run before the pictures are taken: a rush is over, and a rank has lagged for half a minute."""
PERIOD = 2.0
HEIGHT = 1000


def main() -> None:
    """Run the workers, and write the pictures."""
    with ExitStack() as stack:
        for words in DEMOS:
            demo = subprocess.Popen([sys.executable, "-m", "exporter", "demo", *words])
            stack.callback(demo.wait)
            stack.callback(demo.terminate)
        for page in (WORKER, NODE):
            eventually(lambda page=page: answers(page), f"{page} answers", within=60)  # type: ignore[misc]
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            for page in (WORKER, NODE):
                answers(f"{page}metrics")
            time.sleep(PERIOD)
        with browser() as chromium:
            take(chromium, WORKER, "engine-page.png")
            take(chromium, NODE, "node-page.png", height=470)


def answers(url: str) -> bool:
    """Return whether somebody answers, who has read all workers for it."""
    try:
        urllib.request.urlopen(url).close()  # noqa: S310 - our own, on this machine
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
