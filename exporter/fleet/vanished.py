"""Targets that their source no longer lists: kept until it is known that their worker lives. Pure decisions.

A gateway that restarts forgets a worker that is down, and with the worker would go `smg_exporter_target_up` and every
alert on it. A target whose worker still lives was removed on purpose, and goes as soon as a scrape has found that.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from exporter.fleet.targets import Target

KEPT = 600.0
"""Seconds for which a vanished target is kept."""
MOST = 1000
"""Most vanished targets of a source; of more, those that vanished last are kept."""


class Vanished(NamedTuple):
    """A vanished target."""

    target: Target
    since: float
    """When its source was first seen not to list it, by the clock of the caller."""
    is_down: bool = False
    """Whether a scrape since then found no living worker; False as well until a scrape has ended."""


WasUp = Callable[[Target, float], bool | None]
"""Tells whether a target's last scrape found a living worker; None if it began before that time, or there is none."""


def keep(
    vanished: Iterable[Vanished],
    before: Iterable[Target],
    listed: Iterable[Target],
    was_up: WasUp,
    now: float,
) -> Sequence[Vanished]:
    """Return which targets are kept though their source lists only `listed`.

    Candidates are the ones that it listed `before`, and those that had `vanished` earlier. A worker that is listed
    again, under whatever metrics URL, is not vanished.
    """
    present = {target.worker_addr for target in listed}
    kept = {}
    for one in (*vanished, *(Vanished(target, now) for target in before)):
        is_up = was_up(one.target, one.since)
        if one.target.worker_addr not in present and now < one.since + KEPT and not is_up:
            kept[one.target.worker_addr] = one._replace(is_down=one.is_down or is_up is False)
    return tuple(kept.values())[-MOST:]
