"""A part of the soak test: its time, its actions, and the checks of each promise."""

import random
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping

Samples = Mapping[str, float]
"""Name and labels, as an exposition writes them -> value."""

_DETAILS = 3
"""Most violations of a promise that are printed."""
_PROGRESS = 5.0
"""Seconds between two lines of progress."""
_PATIENCE = 30.0
"""Seconds after which a part that found a violation ends, even before its least number of rounds."""


def differing(expected: Samples, got: Samples, *, others: bool = False) -> list[str]:
    """Return the keys of samples that differ from `expected`; with `others`, additional samples are allowed."""
    if expected == got:
        return []
    return [key for key in (expected if others else {*expected, *got}) if expected.get(key) != got.get(key)]


class Promise:
    """One row of the table: a promise, the number of checks, and the violations."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.measured = ""
        """The figure for the table; if empty, the number of checks is shown."""
        self.checks = 0
        self.violations = 0
        self.details: list[str] = []
        """The first few violations."""

    def check(self, kept: bool, violation: str) -> bool:  # noqa: FBT001 - the result of a comparison
        """Count a check, and record `violation` unless `kept`; return `kept`."""
        self.checks += 1
        if not kept:
            self.violations += 1
            if len(self.details) < _DETAILS:
                self.details.append(violation)
        return kept

    def equal(self, expected: Samples, got: Samples, when: str, *, others: bool = False) -> bool:
        """Check that the samples equal `expected`; with `others`, that they include `expected`."""
        wrong = differing(expected, got, others=others)
        some = "; ".join(
            f"{key}: expected {expected.get(key)}, got {got.get(key)}" for key in sorted(wrong)[:3]
        )
        return self.check(not wrong, f"{when}: {len(wrong)} samples differ: {some}")

    def at_most(self, value: float, limit: float, measured: str) -> bool:
        """Check a measured value against its limit; `measured` is its text for the table."""
        self.measured = measured
        return self.check(value <= limit, f"expected {limit:g} at most, got {value:g}")

    @property
    def kept(self) -> bool:
        """Whether the promise was checked, without violations."""
        return self.checks > 0 and not self.violations

    @property
    def figure(self) -> str:
        """The figure for the table."""
        return self.measured or f"{self.checks - self.violations:,} of {self.checks:,}"


class Part:
    """A running part."""

    def __init__(self, name: str, seconds: float, seed: int) -> None:
        self.name = name
        self.chance = random.Random(f"{seed} {name}")  # noqa: S311 - to be repeatable is the point
        self._promises: dict[str, Promise] = {}
        self.done: Counter[str] = Counter()
        """Actions and how often they were done."""
        self._seconds = seconds
        self._start = time.monotonic()
        self._next_progress = _PROGRESS

    def promise(self, text: str) -> Promise:
        """Return the row for a promise; the same row if asked again, as two exporters of a part do."""
        return self._promises.setdefault(text, Promise(text))

    def rounds(self, least: int) -> Iterator[int]:
        """Yield round numbers until the part's time is over, at least `least` of them."""
        number = 0
        while self._passed() < self._seconds or number < self._owed(least):
            yield number
            number += 1
            if self._passed() >= self._next_progress:
                self._next_progress = self._passed() + _PROGRESS
                print(f"  {self.name}: {number:,} rounds, {self._passed():.0f} s", file=sys.stderr)

    def _passed(self) -> float:
        return time.monotonic() - self._start

    def _owed(self, least: int) -> int:
        broken = any(promise.violations for promise in self.promises)
        return 0 if broken and self._passed() > _PATIENCE else least

    @property
    def promises(self) -> Collection[Promise]:
        """All promises of the part."""
        return self._promises.values()

    @property
    def kept(self) -> bool:
        """Whether all promises of the part were kept."""
        return all(promise.kept for promise in self.promises)

    def cells(self) -> Iterator[tuple[str, ...]]:
        """Yield the part's table rows: part, actions, promise, figure, kept."""
        done = ", ".join(f"{count:,} {what}" for what, count in self.done.items())
        first = self.name, done
        for promise in self.promises:
            yield *first, promise.text, promise.figure, "yes" if promise.kept else "**no**"
            first = "", ""

    def violations(self) -> Iterator[str]:
        """Yield the recorded violations, a line each."""
        for promise in self.promises:
            if not promise.kept:
                yield f"{self.name}: {promise.text}: {promise.violations:,} of {promise.checks:,} checks failed"
                yield from (f"  {detail}" for detail in promise.details)


def run(name: str, work: Callable[[Part], None], seconds: float, seed: int) -> Part:
    """Run a part; an exception that ends it counts as a violation."""
    part = Part(name, seconds, seed)
    try:
        work(part)
    except Exception:  # noqa: BLE001 - the other parts are to run all the same
        part.promise("runs to its end").check(kept=False, violation=traceback.format_exc())
    return part
