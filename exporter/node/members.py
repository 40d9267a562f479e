"""Which workers are served, and under which labels, from what discovery found: pure decisions."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from exporter.discovery.workers import Identity, Worker
from exporter.printable import printable

ADDRESS, DIRECTORY = "worker_addr", "directory"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which workers are wanted."""

    match: re.Pattern[str] | None = None
    """Command lines that are wanted; None: all."""
    ignore: re.Pattern[str] | None = None
    """Command lines that are not."""
    most: int
    """Number of workers that are served at most; as many ended ones are kept, those that ended last."""
    forget_after: float
    """Seconds for which an ended worker's counters stay."""

    def wants(self, worker: Worker) -> bool:
        """Whether the command line of the worker's server, or of its first process, is wanted."""
        command = printable(" ".join(worker.command))
        is_matched = self.match is None or self.match.search(command) is not None
        return is_matched and not (self.ignore and self.ignore.search(command))


@dataclass(frozen=True)
class Member:
    """A worker that is served."""

    finding: Worker
    labels: Mapping[str, str]
    """The labels on every series. They tell it from all other members."""
    ended: float | None = None
    """When its last process was found to have ended, in seconds of the caller's clock; None while it lives."""

    @property
    def name(self) -> str:
        """What `?worker=` calls it: its address, or its directory where it has none or shares it."""
        return self.labels.get(DIRECTORY) or self.labels[ADDRESS]


@dataclass(frozen=True)
class Members:
    """The workers that are served, in the order in which they came, and how many more there are."""

    served: Mapping[Identity, Member] = field(default_factory=dict)
    left_out: int = 0
    """Number of workers that are not served, as there are more than `Choice.most`."""

    @property
    def live(self) -> Collection[Member]:
        """The members with a living process."""
        return [member for member in self.served.values() if member.ended is None]


def decide(
    before: Members,
    found: Sequence[Worker],
    now: float,
    choice: Choice,
    labels_of: Callable[[Worker], Mapping[str, str]],
) -> Members:
    """Return the members after a look that found these workers.

    `labels_of` returns the labels of a worker, its address among them unless it has none. It is asked for newcomers,
    and for a member that has a server now and had none.
    """
    wanted = {worker.identity: worker for worker in found if choice.wants(worker)}
    stay: dict[Identity, Member] = {}
    for identity, member in before.served.items():
        finding = wanted.get(identity)
        if finding is None:
            ended = now if member.ended is None else member.ended
            if now < ended + choice.forget_after:
                stay[identity] = Member(member.finding, member.labels, ended)
        elif member.ended is None and (finding.server is None or member.finding.server is not None):
            stay[identity] = Member(finding, member.labels)
    newcomers = {identity: one for identity, one in wanted.items() if identity not in stay}
    room = choice.most - sum(member.ended is None for member in stay.values())
    for identity, finding in list(newcomers.items())[: max(room, 0)]:
        labels = dict(labels_of(finding))
        _replace_ended(stay, labels.get(ADDRESS))
        stay[identity] = Member(finding, _distinct(labels, finding, stay.values()))
    _forget_ended(stay, choice.most)
    return Members(stay, max(len(newcomers) - max(room, 0), 0))


def _replace_ended(members: dict[Identity, Member], address: str | None) -> None:
    """Remove ended members of this address: the worker at it has come back."""
    for identity, member in list(members.items()):
        if address and member.ended is not None and member.labels.get(ADDRESS) == address:
            del members[identity]


def _forget_ended(members: dict[Identity, Member], most: int) -> None:
    """Remove the ended members beyond `most`: those that ended first."""
    ended = {identity: member.ended for identity, member in members.items() if member.ended is not None}
    for identity in sorted(ended, key=ended.__getitem__)[: max(len(ended) - most, 0)]:
        del members[identity]


def _distinct(labels: dict[str, str], finding: Worker, others: Collection[Member]) -> Mapping[str, str]:
    """Return labels that no other member has: with the directory where the address is shared or unknown."""
    taken = list(chain.from_iterable((one.labels.get(ADDRESS), one.name) for one in others))
    if labels.get(ADDRESS) and labels[ADDRESS] not in taken:
        return labels
    directory = printable(finding.path)
    if directory in taken:  # the same path in another container
        directory = f"/proc/{finding.pids[0]}/root{directory}"
    return {**labels, DIRECTORY: directory}
