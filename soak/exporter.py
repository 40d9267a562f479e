"""The exporter under test, a process of its own: what it answers is checked, and what it takes is measured."""

import gzip
import http.client
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.running import resident
from soak.parts import Part, Promise, Samples, differing
from soak.samples import Exposition, read
from tests.support.daemon import Daemon, daemon
from tests.support.waiting import DEADLINE

SETTLED = 7.0
"""Seconds within which a change shows: a refused file is looked at again after 5, and a busy machine adds some."""
MOST_GROWTH = 4.0
"""MiB by which memory may have grown once a load is over, since its first rounds."""
_MORE_THREADS = 2
"""Threads by which a pool may still grow: it does when it happens to be busy."""
_POLL = 0.02
_GZIP = b"\x1f\x8b"
"""How a compressed body begins."""


class Resources(NamedTuple):
    """What a process takes."""

    memory: float
    """Resident, in MiB."""
    descriptors: int
    threads: int

    @classmethod
    def of(cls, pid: int) -> "Resources":
        """Return what a process takes now."""
        return cls(resident(pid), *(len([*Path(f"/proc/{pid}/{name}").iterdir()]) for name in ("fd", "task")))


class Exporter:
    """A running exporter, scraped on one connection; made by `exporter`."""

    def __init__(self, part: Part, running: Daemon, path: str, since: str, most_growth: float) -> None:
        self.daemon = running
        self.last = Exposition({}, {}, {})
        """The last good answer."""
        self._answered = part.promise("every scrape is answered with 200, and no counter falls")
        self._back = part.promise(
            f"at most + {most_growth:g} MiB, + 0 descriptors, + {_MORE_THREADS} threads since {since}"
        )
        self._path = path
        self._most_growth = most_growth
        self._counters: Samples | None = {}
        """Of the last answer; None where they may fall: while a worker gives way to another."""
        self._connection = http.client.HTTPConnection(running.host, running.port, timeout=DEADLINE)
        self._before = self.resources

    @property
    def resources(self) -> Resources:
        """What it takes now."""
        return Resources.of(self.daemon.popen.pid)

    def get(self, path: str) -> tuple[int, bytes]:
        """Return status and body of an answer as it came; where there is none, 0 and why."""
        try:
            self._connection.request("GET", path, headers={"Accept-Encoding": "gzip"})
            answer = self._connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            return 0, repr(error).encode()

    def fetch(self) -> bytes:
        """Scrape, and return the body as it came; an empty one where the scrape failed."""
        status, body = self.get(self._path)
        if self._answered.check(status == 200, f"expected 200, got {status}: {body[:300]!r}"):
            return body
        assert self.daemon.popen.poll() is None, f"it ended with {self.daemon.wait()}: {self.daemon.log[-3:]}"
        return b""

    def scrape(self) -> Exposition:
        """Scrape, and return the samples; those of the last good answer where the scrape failed."""
        if body := self.fetch():
            self.last = read(gzip.decompress(body) if body.startswith(_GZIP) else body)
            if self._counters is not None:
                self._check_counters(self._counters, self.last.counters)
        return self.last

    def scrape_until(self, good: Callable[[Exposition], bool]) -> None:
        """Scrape until an answer is good, or until that should have been so."""
        deadline = time.monotonic() + SETTLED
        while not good(self.scrape()) and time.monotonic() < deadline:
            time.sleep(_POLL)

    def holds_at_most(self, promise: Promise, descriptors: int, when: str) -> None:
        """Check that soon it has no more than so many descriptors."""
        self.scrape_until(lambda _: self.resources.descriptors <= descriptors)
        got = self.resources.descriptors
        promise.check(got <= descriptors, f"{when}: expected {descriptors} descriptors at most, got {got}")

    def start_anew(self) -> None:
        """Take note that another worker comes: counters may fall until its samples are served."""
        self._counters = None

    def settles(self, promise: Promise, expected: Samples, when: str, *, others: bool = False) -> float:
        """Check that the samples soon are those expected, or have them among `others`; return the seconds it took."""
        start = time.monotonic()
        self.scrape_until(lambda said: not differing(expected, said.samples, others=others))
        promise.equal(expected, self.last.samples, when, others=others)
        if not others:
            self._counters = self.last.counters
        return time.monotonic() - start

    def empty(self, directory: Path, promise: Promise) -> None:
        """Remove all files of the directory, and check that soon nothing is left of them."""
        for path in directory.iterdir():
            path.unlink()
        self.start_anew()
        self.settles(promise, {}, "all files removed")

    def says(self, promise: Promise, name: str, value: float, when: str) -> None:
        """Check that one of its own metrics soon has a value."""
        self.scrape_until(lambda said: said.own.get(name) == value)
        got = self.last.own.get(name)
        promise.check(got == value, f"{when}: {name}: expected {value:g}, got {got}")

    def note_resources(self) -> None:
        """Take note of what it takes now: as much as it may take in the end."""
        self._before = self.resources

    def note_memory(self) -> None:
        """Take note of memory alone."""
        self._before = self._before._replace(memory=self.resources.memory)

    def check_resources(self) -> None:
        """Check that it takes no more than when that was noted, once connections and files are let go of."""
        before = self._before
        self.scrape_until(lambda _: self.resources.descriptors <= before.descriptors)
        now = self.resources
        growth, descriptors, threads = (after - at_first for after, at_first in zip(now, before, strict=True))
        figure = f"{growth:+.1f} to {now.memory:.0f} MiB, {descriptors:+} descriptors, {threads:+} threads"
        kept = growth <= self._most_growth and descriptors <= 0 and threads <= _MORE_THREADS
        self._back.check(kept, figure)
        self._back.measured = "; ".join(filter(None, [self._back.measured, figure]))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _check_counters(self, before: Samples, now: Samples) -> None:
        fell = [key for key, value in before.items() if now.get(key, -1.0) < value]
        if fell:
            some = "; ".join(f"{key}: {before[key]} → {now.get(key)}" for key in fell[:3])
            self._answered.check(kept=False, violation=f"{len(fell)} counters fell: {some}")
        self._counters = now


@contextmanager
def exporter(
    part: Part,
    directory: Path,
    *options: str,
    program: Sequence[str] = ("-m", "exporter"),
    path: str = "/metrics",
    since: str = "the first rounds",
    most_growth: float = MOST_GROWTH,
) -> Iterator[Exporter]:
    """Run the exporter, and compare what it takes with what it took at `since`, as the table is to name that.

    A worker's has no `worker_addr` label, for stock has none.
    """
    plain = [] if "fleet" in options else ["--no-worker-addr-label"]
    with daemon(directory, *plain, *options, program=program) as running:
        assert running.popen.poll() is None, f"the exporter does not start: {running.log}"
        subject = Exporter(part, running, path, since, most_growth)
        try:
            yield subject
        finally:
            subject.close()
