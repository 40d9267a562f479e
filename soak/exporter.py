"""The exporter under test, as a separate process: checks its answers, and measures its resources."""

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
"""Seconds within which a change must be served: up to 5 for a refused file, and some for a busy machine."""
MOST_GROWTH = 4.0
"""MiB by which memory may grow between the first rounds of a load and its end."""
_MORE_THREADS = 2
"""Threads that may be added after resources were noted: a busy pool adds some."""
_POLL = 0.02
_GZIP = b"\x1f\x8b"
"""The first bytes of a gzip body."""


class Resources(NamedTuple):
    """A process's memory, descriptors and threads."""

    memory: float
    """Resident memory in MiB."""
    descriptors: int
    threads: int

    @classmethod
    def of(cls, pid: int) -> "Resources":
        """Return a process's present resources."""
        return cls(resident(pid), *(len([*Path(f"/proc/{pid}/{name}").iterdir()]) for name in ("fd", "task")))


class Exporter:
    """A running exporter, scraped on one connection; made by `exporter`."""

    def __init__(self, part: Part, running: Daemon, path: str, since: str, most_growth: float) -> None:
        self.daemon = running
        self.last = Exposition({}, {}, {})
        """The samples of the last successful scrape."""
        self._answered = part.promise("every scrape is answered with 200, and no counter falls")
        self._back = part.promise(
            f"at most + {most_growth:g} MiB, + 0 descriptors, + {_MORE_THREADS} threads since {since}"
        )
        self._path = path
        self._most_growth = most_growth
        self._counters: Samples | None = {}
        """Counters of the last scrape; None while they may fall, as a new worker replaces the old."""
        self._connection = http.client.HTTPConnection(running.host, running.port, timeout=DEADLINE)
        self._before = self.resources

    @property
    def resources(self) -> Resources:
        """The exporter's present resources."""
        return Resources.of(self.daemon.popen.pid)

    def get(self, path: str) -> tuple[int, bytes]:
        """Return status and raw body of an answer; 0 and the error if none comes."""
        try:
            self._connection.request("GET", path, headers={"Accept-Encoding": "gzip"})
            answer = self._connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            return 0, repr(error).encode()

    def fetch(self) -> bytes:
        """Scrape; return the raw body, empty if the scrape failed."""
        status, body = self.get(self._path)
        if self._answered.check(status == 200, f"expected 200, got {status}: {body[:300]!r}"):
            return body
        assert self.daemon.popen.poll() is None, f"it ended with {self.daemon.wait()}: {self.daemon.log[-3:]}"
        return b""

    def scrape(self) -> Exposition:
        """Scrape; return the samples, those of the last successful scrape if this one failed."""
        if body := self.fetch():
            self.last = read(gzip.decompress(body) if body.startswith(_GZIP) else body)
            if self._counters is not None:
                self._check_counters(self._counters, self.last.counters)
        return self.last

    def scrape_until(self, good: Callable[[Exposition], bool]) -> None:
        """Scrape until `good` accepts an answer, at most `SETTLED` seconds."""
        deadline = time.monotonic() + SETTLED
        while not good(self.scrape()) and time.monotonic() < deadline:
            time.sleep(_POLL)

    def holds_at_most(self, promise: Promise, descriptors: int, when: str) -> None:
        """Check that the exporter soon has at most `descriptors` open."""
        self.scrape_until(lambda _: self.resources.descriptors <= descriptors)
        got = self.resources.descriptors
        promise.check(got <= descriptors, f"{when}: expected {descriptors} descriptors at most, got {got}")

    def start_anew(self) -> None:
        """Allow counters to fall until a new worker's samples are served."""
        self._counters = None

    def settles(self, promise: Promise, expected: Samples, when: str, *, others: bool = False) -> float:
        """Check that the samples soon equal `expected` (with `others`: include them); return the seconds taken."""
        start = time.monotonic()
        self.scrape_until(lambda said: not differing(expected, said.samples, others=others))
        promise.equal(expected, self.last.samples, when, others=others)
        if not others:
            self._counters = self.last.counters
        return time.monotonic() - start

    def empty(self, directory: Path, promise: Promise) -> None:
        """Remove all files of the directory, and check that their samples soon are gone."""
        for path in directory.iterdir():
            path.unlink()
        self.start_anew()
        self.settles(promise, {}, "all files removed")

    def says(self, promise: Promise, name: str, value: float, when: str) -> None:
        """Check that an own metric of the exporter soon has a value."""
        self.scrape_until(lambda said: said.own.get(name) == value)
        got = self.last.own.get(name)
        promise.check(got == value, f"{when}: {name}: expected {value:g}, got {got}")

    def note_resources(self) -> None:
        """Note the present resources, as limits for `check_resources`."""
        self._before = self.resources

    def note_memory(self) -> None:
        """Note the present memory only."""
        self._before = self._before._replace(memory=self.resources.memory)

    def check_resources(self) -> None:
        """Check that resources fall back to the noted ones, once connections and files are closed."""
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
    """Run the exporter. Its resources are compared with those at `since`, a phrase for the table.

    A worker's exporter runs without the `worker_addr` label, which stock lacks.
    """
    plain = [] if "fleet" in options else ["--no-worker-addr-label"]
    with daemon(directory, *plain, *options, program=program) as running:
        assert running.popen.poll() is None, f"the exporter does not start: {running.log}"
        subject = Exporter(part, running, path, since, most_growth)
        try:
            yield subject
        finally:
            subject.close()
