"""Builds the parts of a node's exporter from its options, and connects them: discovery, workers, answers."""

import logging
import os
import re
import socket
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from operator import attrgetter
from typing import NamedTuple

from exporter import __version__
from exporter.addresses import derived_metrics_port
from exporter.discovery.finder import Finder, Findings
from exporter.discovery.obstacles import HIDDEN, way_in
from exporter.discovery.proc import Proc
from exporter.discovery.workers import Identity
from exporter.discovery.workers import Worker as Finding
from exporter.exposition.combine import Combiner
from exporter.logs import fields, some
from exporter.model import Labels, Snapshot
from exporter.multiproc.budget import TOO_MANY
from exporter.multiproc.engine import Engine
from exporter.multiproc.fileset import FileSet
from exporter.node import kubernetes
from exporter.node.members import ADDRESS, Choice, Member, Members, decide
from exporter.node.status import MemberStatus, NodeStatus
from exporter.node.telemetry import Facts, Telemetry, all_own_names
from exporter.options.node import NodeOptions
from exporter.printable import printable
from exporter.service.engine_views import EngineViews, Reads
from exporter.threads import DaemonThread
from exporter.worker.found import FoundWorker, SharedNamespaces, open_directory
from exporter.worker.looks import Looks
from exporter.worker.roster import Roster
from exporter.worker.scrape import Scraper
from exporter.worker.seek import user_name

_name = attrgetter("family.name")
_logger = logging.getLogger(__name__)


class _Look(NamedTuple):
    """What a look leads to."""

    members: Members
    descriptors: dict[Identity, int]
    """The directories of newcomers, open."""
    unreadable: dict[str, str]
    """Why directories cannot be opened, by path."""
    findings: Findings

    def close(self) -> None:
        """Close the directories, which nobody is going to serve."""
        for descriptor in self.descriptors.values():
            os.close(descriptor)


class Node:
    """The parts: `roster` holds the workers, `scraper` serves all of them, `telemetry` counts."""

    def __init__(
        self,
        options: NodeOptions,
        make_finder: Callable[..., Finder] = Finder,
        *,
        quiet: bool = False,
    ) -> None:
        """Build and connect the parts. `make_finder` makes what looks at processes. `quiet`: log nothing."""
        self.node_name = options.node_name or socket.gethostname()
        self.members = Members()
        """The workers that are served, as of the last look."""
        self.roster = Roster()
        self.facts = Facts()
        self.telemetry = Telemetry(self.facts, lambda: self.scraper.durations)
        self._thread = DaemonThread()
        self._names = all_own_names()
        self.scraper = Scraper(
            lambda: self.roster.workers,
            lambda: self._own_metrics(self.roster.tell()),
            observe=self.telemetry.observe,
            own_names=self._names,
            after=lambda: self.views.offer(),  # noqa: PLW0108 - made below
            thread=self._thread,
        )
        self.views = EngineViews(self.roster.read, self._last_reads)
        self._options = options
        self._quiet = quiet
        self._choice = Choice(
            match=re.compile(options.match) if options.match else None,
            ignore=re.compile(options.ignore) if options.ignore else None,
            most=options.max_workers,
            forget_after=options.forget_after,
        )
        self._looks = Looks(lambda visits: make_finder(visits=visits))
        self._namespaces = SharedNamespaces(self._looks.finder.proc)
        self._workers: dict[Identity, FoundWorker] = {}
        self._last: _Look | None = None
        self._has_told_denied = self._has_told_hidden = False
        self._told_of_series = weakref.WeakSet[FoundWorker]()
        own = Proc().status(os.getpid())
        self._way_in = way_in(own.capabilities if own else 0)
        self._combiner = Combiner()
        self._telling = threading.Lock()
        self._started = time.time()

    # --- Over time ---

    async def look(self) -> None:
        """Look once; serve the workers that came, and close those that ended."""
        look = await self._looks.look(self._decide)
        if look is None:
            return
        for identity, member in look.members.served.items():
            if identity in look.descriptors:
                self._workers[identity] = self._make(member, look.descriptors[identity])
                self._log("found a worker", member)
            elif member.ended is not None and not self._workers[identity].is_ended:
                self._workers[identity].retire("its last process has ended")
                self._log("a worker has ended", member)
        for identity in self._workers.keys() - look.members.served.keys():
            del self._workers[identity]
        self.roster.replace([self._workers[identity] for identity in look.members.served])
        self.members, self._last = look.members, look
        self._note(look)

    def _decide(self, finder: Finder) -> _Look:
        """Decide whom to serve, and open their directories, in the thread of the look."""
        findings, before = finder.findings, self.members
        members = decide(
            before, findings.workers, time.monotonic(), self._choice, partial(self._labels, finder)
        )
        served = dict(members.served)
        look = _Look(Members(served, members.left_out), {}, dict(findings.unreadable), findings)
        try:
            for identity, member in members.served.items():
                known = before.served.get(identity)
                if known is not None and known.labels is member.labels:
                    continue
                try:
                    look.descriptors[identity] = open_directory(member.finding, finder)
                except OSError as error:
                    look.unreadable[member.finding.path] = error.strerror or str(error)
                    del served[identity]
        except BaseException:
            look.close()
            raise
        return look

    def _labels(self, finder: Finder, finding: Finding) -> Mapping[str, str]:
        finder.visit(finding.pids[0])
        address = finder.address(finding, self.node_name)
        labels = {ADDRESS: address} if address else {}
        if self._options.kubernetes_labels:
            labels |= kubernetes.labels_of(finding.pids[0], finder.proc)
        return labels | self._options.label

    def _make(self, member: Member, descriptor: int) -> FoundWorker:
        labels = tuple(member.labels.items())
        make_engine = partial(self._make_engine, labels)
        return FoundWorker(
            member.finding,
            descriptor,
            self._namespaces,
            make_engine,
            labels,
            among_several=True,
            quiet=self._quiet,
        )

    def _make_engine(self, labels: Labels, file_set: Callable[[], FileSet]) -> Engine:
        return Engine(
            file_set,
            labels=labels,
            max_file_size=self._options.max_file_size,
            reserved_names=self._names,
            max_series=self._options.max_series,
        )

    # --- Answers ---

    def worker(self, name: str) -> FoundWorker | None:
        """Return the worker that `?worker=` calls by that name; None if there is none."""
        served = self.members.served.items()
        return next((self._workers.get(key) for key, member in served if member.name == name), None)

    @property
    def derived_ports(self) -> Mapping[FoundWorker, int]:
        """The derived port of each worker that has a port; an ended one leaves it to a live one."""
        taken = {member.finding.port for member in self.members.live}
        return {
            self._workers[key]: derived_metrics_port(member.finding.port)
            for key, member in self.members.served.items()
            if member.finding.port and (member.ended is None or member.finding.port not in taken)
        }

    def scraper_of(self, worker: FoundWorker) -> Scraper:
        """Return what serves one worker, without keeping it from being forgotten."""
        weakly = weakref.ref(worker)

        def alive() -> list[FoundWorker]:
            return [one] if (one := weakly()) else []

        return Scraper(
            alive,
            lambda: self._own_metrics([one.tell() for one in alive()]),
            observe=lambda _: None,
            own_names=self._names,
            thread=self._thread,
        )

    def _last_reads(self) -> Reads:
        served = self.members.served.items()
        return {member.name: self._workers[key].last_read() for key, member in served if key in self._workers}

    def _own_metrics(self, of_workers: Sequence[Snapshot]) -> Snapshot:
        with self._telling:  # answers are made in several threads
            return sorted(chain(self.telemetry.tell(), self._combiner.combine(of_workers)), key=_name)

    # --- What is known ---

    @property
    def problem(self) -> str:
        """Why no worker can be found; empty if nothing stands in the way."""
        if self._last is None:
            return "no look at this host's processes has ended yet"
        if self._last.findings.is_alone and not self.members.served:
            return (
                "only the exporter's own processes can be seen: run it in the host's pid namespace "
                "(Kubernetes: hostPID: true), with a /proc that hides no processes"
            )
        return ""

    def status(self) -> NodeStatus:
        """Return the status of the exporter and of its workers."""
        findings = self._last.findings if self._last else Findings()
        return NodeStatus(
            version=__version__,
            node_name=self.node_name,
            started=self._started,
            problem=self.problem,
            workers=tuple(self._status(key, member) for key, member in self.members.served.items()),
            left_out=self.members.left_out,
            processes=findings.processes,
            denied={user_name(uid): count for uid, count in findings.denied.items()},
            way_in=self._way_in,
            hidden=HIDDEN if findings.hides_others else "",
            unreadable=dict(self._last.unreadable) if self._last else {},
            discovery_seconds=findings.seconds,
            last_scrape=self.scraper.last_scrape,
            scrape_durations=self.scraper.durations,
        )

    def _status(self, identity: Identity, member: Member) -> MemberStatus:
        worker = self._workers.get(identity)
        summary = worker.summary() if worker else None
        finding = member.finding
        others = [str(server.port) for server in finding.others]
        shared = f"ports {', '.join(others)} write into the same directory" if others else ""
        cut = TOO_MANY.text if worker and worker.engine.errors[TOO_MANY.reason] else ""
        return MemberStatus(
            name=member.name,
            state="live" if member.ended is None else "down",
            directory=printable(finding.path),
            labels=member.labels,
            pids=finding.pids,
            command=printable(" ".join(finding.command)),
            problem=(summary.problem if summary else "") or shared or cut,
            series=summary.series if summary else 0,
            process_counts=summary.process_counts if summary else {},
            file_counts=summary.file_counts if summary else {},
            last_update=summary.last_update if summary else None,
        )

    def _note(self, look: _Look) -> None:
        """Renew what own metrics tell, and log what stands in the way of looks."""
        live = len(look.members.live)
        self.facts.workers = {
            "live": live,
            "down": len(look.members.served) - live,
            "unreadable": len(look.unreadable),
            "left_out": look.members.left_out,
        }
        self.facts.denied = sum(look.findings.denied.values())
        self.facts.seconds = look.findings.seconds
        for identity, member in look.members.served.items():
            self._note_too_many_series(self._workers[identity], member)
        if not self._quiet:
            self._tell_obstacles(look.findings)

    def _tell_obstacles(self, findings: Findings) -> None:
        """Log once what may not be looked into, and once that other users' processes cannot even be seen."""
        if findings.denied and not self._has_told_denied:
            self._has_told_denied = True
            users = some([user_name(uid) for uid in findings.denied])
            about = fields(processes=self.facts.denied, users=users, hint=self._way_in)
            _logger.warning("some processes may not be looked into", extra=about)
        if findings.hides_others and not self._has_told_hidden:
            self._has_told_hidden = True
            _logger.warning("some processes cannot be seen", extra=fields(problem=HIDDEN))

    def _note_too_many_series(self, worker: FoundWorker, member: Member) -> None:
        """Log once that a worker has more series than it may."""
        if worker.engine.errors[TOO_MANY.reason] and worker not in self._told_of_series:
            self._told_of_series.add(worker)
            if not self._quiet:
                about = fields(worker=member.name, series=self._options.max_series, hint="--max-series")
                _logger.warning("a worker has too many series: further ones are left out", extra=about)

    def _log(self, message: str, member: Member) -> None:
        if not self._quiet:
            about = fields(worker=member.name, directory=member.finding.path, pid=member.finding.pids[0])
            _logger.info(message, extra=about)
