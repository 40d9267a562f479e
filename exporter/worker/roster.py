"""The workers of one process, which come and go while it runs; none of them ever waits for another."""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress

from exporter.logs import fields
from exporter.model import Snapshot
from exporter.service.engine_views import Reads
from exporter.worker.status import Summary, common_problem
from exporter.worker.worker import Worker

_PAUSE = 1.0
"""Seconds until a watch that failed is started again."""
_PATIENCE = 2.0
"""Seconds that the engine views wait for a read: one that takes longer does not delay the others."""
_FIRST_PATIENCE = 0.5
"""The same for the first read of a worker's files, which may take minutes: the page says how far it is."""

_logger = logging.getLogger(__name__)


class Roster:
    """Holds the workers, and runs their watches."""

    def __init__(self, workers: Iterable[Worker] = ()) -> None:
        self.workers: Sequence[Worker] = tuple(workers)
        """The workers, in the order of their blocks in the exposition; replaced as a whole."""
        self._changed = asyncio.Event()

    def replace(self, workers: Iterable[Worker]) -> None:
        """Let these workers be served from now on, in this order; end those that are no longer among them."""
        before, self.workers = self.workers, tuple(workers)
        for worker in before:
            if worker not in self.workers:
                worker.end()
        self._changed.set()

    async def run(self) -> None:
        """Watch the directory of each worker, of later ones too, until cancelled."""
        watches: dict[Worker, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as group:
            while True:
                self._changed.clear()
                for gone in watches.keys() - set(self.workers):
                    watches.pop(gone).cancel()
                for worker in self.workers:
                    if worker not in watches:
                        watches[worker] = group.create_task(self._watch(worker))
                await self._changed.wait()

    async def _watch(self, worker: Worker) -> None:
        """Watch a worker's directory; a watch that fails is started again; a lone worker's ends the run instead."""
        while True:
            try:
                await worker.watch()
            except Exception:
                if len(self.workers) == 1:
                    raise
                _logger.exception(
                    "the watch of a directory failed; starting it again",
                    extra=fields(directory=worker.watcher.name),
                )
            await asyncio.sleep(_PAUSE)

    async def look_only(self) -> None:
        """Look at all directories."""
        await asyncio.gather(*(worker.watcher.look() for worker in self.workers))

    async def look(self) -> None:
        """Look at all directories, and read their files; a read that takes long goes on, but is not waited for."""
        await asyncio.gather(*map(self._look, self.workers))

    async def read(self) -> None:
        """Read the files of all workers; a read that takes long goes on, but is not waited for."""
        await asyncio.gather(*map(self._read, self.workers))

    async def _look(self, worker: Worker) -> None:
        await worker.watcher.look()
        await self._read(worker)

    @staticmethod
    async def _read(worker: Worker) -> None:
        patience = _FIRST_PATIENCE if worker.engine.progress else _PATIENCE
        if worker.busy_for <= patience:
            with suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await worker.refresh()

    def last_reads(self) -> Reads:
        """Return what the last read of each worker gave, by its directory."""
        return {worker.watcher.name: worker.last_read() for worker in self.workers}

    def tell(self) -> list[Snapshot]:
        """Return the own metrics of each worker."""
        return [worker.tell() for worker in self.workers]

    @property
    def problem(self) -> str:
        """Why none of the workers' metrics can be served; empty if those of one can."""
        return common_problem(self.summaries)

    @property
    def summaries(self) -> list[Summary]:
        """What is known of each worker, in short."""
        return [worker.summary() for worker in self.workers]

    def stuck(self, longest: float) -> str:
        """Return what keeps all workers busy for more than `longest` seconds; an empty text if one is free."""
        stuck = [worker.stuck(longest) for worker in self.workers]
        return stuck[0] if stuck and all(stuck) else ""
