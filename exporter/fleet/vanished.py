"""Targets that their source no longer lists though they were down: kept for a while. Pure decisions.

A gateway that restarts forgets a worker that is down, and with the worker would go `smg_exporter_target_up` and every
alert on it. A target whose worker still lives was removed on purpose, and goes at once.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from exporter.fleet.targets import Target

KEPT = 600.0
"""Seconds for which a vanished target is kept."""
MOST = 1000
"""Most vanished targets of a source; of more, those that vanished last are kept."""


class Vanished(NamedTuple):
    """A vanished target, and until when it is kept, by the clock of the caller."""

    target: Target
    until: float


def keep(
    vanished: Iterable[Vanished],
    before: Iterable[Target],
    listed: Iterable[Target],
    is_down: Callable[[Target], bool],
    now: float,
) -> Sequence[Vanished]:
    """Return which targets are kept though their source lists only `listed`.

    Candidates are the ones that it listed `before`, and those that had `vanished` earlier. A worker that is listed
    again, under whatever metrics URL, is not vanished.
    """
    present = {target.worker_addr for target in listed}
    candidates = (*vanished, *(Vanished(target, now + KEPT) for target in before))
    kept = {
        one.target.worker_addr: one
        for one in candidates
        if one.target.worker_addr not in present and now < one.until and is_down(one.target)
    }
    return tuple(kept.values())[-MOST:]
