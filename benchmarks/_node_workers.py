"""A process of a worker, for benchmarks.node: it holds recorded files open as if it had written them.

    python -m benchmarks._node_workers DIR PID     the files of that recorded pid become this process's
    python -m benchmarks._node_workers late DIR PORT   a server that writes its first file when it is told to
    python -m benchmarks._node_workers maps        one with as many mappings as a process that uses GPUs

Each line on stdin is one change of all values, or the first file; a line on stdout says that it is done.
"""

import mmap
import os
import socket
import sys
from contextlib import closing
from pathlib import Path

from prometheus_client.mmap_dict import MmapedDict, mmap_key

from benchmarks.traffic import ALL, Traffic

MAP_LINES = 20_000
"""Mappings of a process that uses GPUs."""


def _take_over(directory: Path, recorded: str) -> None:
    files = [
        path.rename(path.with_name(path.name.replace(f"_{recorded}.db", f"_{os.getpid()}.db")))
        for path in directory.glob(f"*_{recorded}.db")
    ]
    with closing(Traffic(files)) as traffic:
        print("ready", flush=True)
        for _ in sys.stdin:
            traffic.change(ALL)
            print("done", flush=True)


def _write_late(directory: str, port: str) -> None:
    with socket.create_server(("127.0.0.1", int(port))):
        print("ready", flush=True)
        sys.stdin.readline()
        file = MmapedDict(f"{directory}/counter_{os.getpid()}.db")
        file.write_value(mmap_key("first", "first_total", [], [], "The first file."), 1.0, 0.0)
        print("done", flush=True)
        sys.stdin.read()
        file.close()


def _map_much() -> None:
    """Map as many pages apart as a process that uses GPUs has mappings."""
    held = [
        mmap.mmap(-1, mmap.PAGESIZE, prot=(mmap.PROT_READ, mmap.PROT_WRITE)[at % 2])
        for at in range(MAP_LINES)
    ]
    print("ready", flush=True)
    sys.stdin.read()
    del held


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["late", where, on]:
            _write_late(where, on)
        case ["maps"]:
            _map_much()
        case [where, pid]:
            _take_over(Path(where), pid)
