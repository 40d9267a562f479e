"""A part of the soak: its time, what it has done, and what it found of each promise."""

import random
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping

Samples = Mapping[str, float]
"""Name and labels, as an exposition writes them -> value."""

_DETAILS = 3
"""Violations of a promise that are told in detail."""
_PROGRESS = 5.0
"""Seconds between two lines of progress."""
_PATIENCE = 30.0
"""Seconds that a part may take for its least number of rounds, once it has found a violation."""


def differing(expected: Samples, got: Samples, *, others: bool = False) -> list[str]:
    """Return the keys of samples that are not as expected; with `others`, there may be more than those expected."""
    if expected == got:
        return []
    return [key for key in (expected if others else {*expected, *got}) if expected.get(key) != got.get(key)]


class Promise:
    """One row of the table: what is promised, how often it was checked, and what broke it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.measured = ""
        """The figure; where it stays empty, the number of checks is."""
        self.checks = 0
        self.violations = 0
        self.details: list[str] = []
        """The first few violations."""

    def check(self, kept: bool, violation: str) -> bool:  # noqa: FBT001 - the result of a comparison
        """Count a check, and tell the violation if there was one; return `kept`."""
        self.checks += 1
        if not kept:
            self.violations += 1
            if len(self.details) < _DETAILS:
                self.details.append(violation)
        return kept

    def equal(self, expected: Samples, got: Samples, when: str, *, others: bool = False) -> bool:
        """Check that the samples are those expected; with `others`, that those expected are among them."""
        wrong = differing(expected, got, others=others)
        some = "; ".join(
            f"{key}: expected {expected.get(key)}, got {got.get(key)}" for key in sorted(wrong)[:3]
        )
        return self.check(not wrong, f"{when}: {len(wrong)} samples differ: {some}")

    def at_most(self, value: float, limit: float, measured: str) -> bool:
        """Check a measured value against its limit, and show it."""
        self.measured = measured
        return self.check(value <= limit, f"expected {limit:g} at most, got {value:g}")

    @property
    def kept(self) -> bool:
        """Whether it was looked at, and no violation found."""
        return self.checks > 0 and not self.violations

    @property
    def figure(self) -> str:
        """What was measured, for the table."""
        return self.measured or f"{self.checks - self.violations:,} of {self.checks:,}"


class Part:
    """A running part."""

    def __init__(self, name: str, seconds: float, seed: int) -> None:
        self.name = name
        self.chance = random.Random(f"{seed} {name}")  # noqa: S311 - to be repeatable is the point
        self._promises: dict[str, Promise] = {}
        self.done: Counter[str] = Counter()
        """What was done, and how often."""
        self._seconds = seconds
        self._start = time.monotonic()
        self._next_progress = _PROGRESS

    def promise(self, text: str) -> Promise:
        """Return the row of the table for a promise; two exporters of a part share one."""
        return self._promises.setdefault(text, Promise(text))

    def rounds(self, least: int) -> Iterator[int]:
        """Count rounds until the part's time is over, but `least` of them anyway."""
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
        """What it has checked."""
        return self._promises.values()

    @property
    def kept(self) -> bool:
        """Whether all its promises were kept."""
        return all(promise.kept for promise in self.promises)

    def cells(self) -> Iterator[tuple[str, ...]]:
        """Return its rows of the table: part, what was done, promise, figure, kept."""
        done = ", ".join(f"{count:,} {what}" for what, count in self.done.items())
        first = self.name, done
        for promise in self.promises:
            yield *first, promise.text, promise.figure, "yes" if promise.kept else "**no**"
            first = "", ""

    def violations(self) -> Iterator[str]:
        """Return what is known of promises that were not kept, as lines."""
        for promise in self.promises:
            if not promise.kept:
                yield f"{self.name}: {promise.text}: {promise.violations:,} of {promise.checks:,} checks failed"
                yield from (f"  {detail}" for detail in promise.details)


def run(name: str, work: Callable[[Part], None], seconds: float, seed: int) -> Part:
    """Run a part; what ends it early is a violation too."""
    part = Part(name, seconds, seed)
    try:
        work(part)
    except Exception:  # noqa: BLE001 - the other parts are to run all the same
        part.promise("runs to its end").check(kept=False, violation=traceback.format_exc())
    return part
