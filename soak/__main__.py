"""Stress the exporter with real processes and real faults, and check its promises: `python -m soak [PART ...]`.

Longer runs do more of everything. The table lists what was done and found; docs/reliability.md explains each row. Exit
code 1 if a promise was broken; the first violations are printed.
"""

import argparse
import random
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from itertools import chain

from benchmarks.report import DOCS, machine, markdown, write_into
from soak.clients import crowd, slow_clients
from soak.directory import directory
from soak.fleet import fleet_series, fleet_targets
from soak.generations import generations
from soak.growth import changing, memory, new_series
from soak.mutations import mutations
from soak.parts import Part, run
from soak.processes import enter_namespace
from soak.refusals import refusals
from soak.writers import writers

PARTS: dict[str, tuple[Callable[[Part], None], float]] = {
    "mutations": (mutations, 16),
    "refusals": (refusals, 8),
    "writers": (writers, 12),
    "generations": (generations, 20),
    "directory": (directory, 8),
    "crowd": (crowd, 6),
    "slow-clients": (slow_clients, 18),
    "changing": (changing, 30),
    "new-series": (new_series, 5),
    "memory": (memory, 20),
    "fleet-series": (fleet_series, 10),
    "fleet-targets": (fleet_targets, 8),
}
"""Name -> function, and its share of the time."""
HEADINGS = ("part", "done", "promised", "found", "kept")
_DESCRIPTORS = 4096
"""Limit on open files: enough for the crowds of clients."""


def main(words: Sequence[str] | None = None) -> int:
    """Run the parts that the command line names; return the exit code."""
    given = _parse(words)
    total = sum(PARTS[name][1] for name in given.parts)
    parts = []
    for name in given.parts:
        work, share = PARTS[name]
        print(f"{name} ...", file=sys.stderr)
        parts.append(run(name, work, 60 * given.minutes * share / total, given.seed))
    title = f"{given.minutes:g} minutes with seed {given.seed}, on {machine()}.\n"
    results = f"{title}\n{markdown(HEADINGS, (row for part in parts for row in part.cells()))}"
    print(results)
    for line in chain.from_iterable(part.violations() for part in parts):
        print(line, file=sys.stderr)
    if given.write:
        write_into(DOCS / "reliability.md", "results", results)
    return 0 if all(part.kept for part in parts) else 1


def _parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m soak", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; default: all")
    parser.add_argument("--minutes", type=float, default=2.0, metavar="N", help="default: %(default)g")
    parser.add_argument(
        "--seed", type=int, metavar="N", help="seed of all random choices; default: a new one each time"
    )
    parser.add_argument("--write", action="store_true", help="write the table into docs/reliability.md")
    given = parser.parse_args(words)
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if given.write and given.parts:
        parser.error("--write is for the table of all parts")
    given.parts = given.parts or list(PARTS)
    if given.seed is None:
        given.seed = random.SystemRandom().randrange(1_000_000)
    return given


if __name__ == "__main__":
    enter_namespace([sys.executable, "-m", "soak", *sys.argv[1:]])
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that SIGTERM cleans up as Ctrl-C does
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(_DESCRIPTORS, most), most))
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
