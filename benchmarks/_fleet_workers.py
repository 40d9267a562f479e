"""Many HTTP workers in one process, on addresses of the loopback network: 127.1.0.1, 127.1.0.2, ...

    python -m benchmarks._fleet_workers PORT BODY... [--hang=ADDRESS,...] [--distinct] [--new-series]

Worker K answers `/metrics` with the bodies in turn, beginning with the Kth; workers at the addresses of `--hang` never
answer. `--distinct`: no two workers have a series in common. `--new-series`: every answer has series that no answer had
before. Every worker also answers what the SMG gateway asks of an SGLang server.
"""

import argparse
import asyncio
import json
from collections.abc import Callable, Collection, Iterator
from functools import cache
from itertools import count
from pathlib import Path

MODEL = {"model_path": "m", "served_model_name": "m", "tp_size": 1, "dp_size": 1}
SGLANG = {
    b"/health": ("text/plain", b"OK"),
    b"/v1/models": ("application/json", json.dumps({"object": "list", "data": [{"id": "m"}]}).encode()),
    b"/model_info": ("application/json", json.dumps(MODEL).encode()),
    b"/server_info": ("application/json", json.dumps(MODEL).encode()),
}
_COUNTER = b"sglang:scheduler_stage_seconds_total{"
_HISTOGRAM_END = b"sglang:per_stage_req_latency_seconds_count{"
"""How the last line of a label set of a histogram begins. Both families are the largest of the recorded workers."""
_LIFE = 50


def address(number: int) -> str:
    """Return the address of worker `number`, counted from 0."""
    return f"127.1.{(number + 1) // 250}.{(number + 1) % 250 + 1}"


def answer(content_type: str, body: bytes) -> bytes:
    """Return a whole HTTP answer."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def of_its_own(body: bytes, host: bytes) -> bytes:
    """Return a body made distinct: `host` is in each model name, and in a last label `worker_addr`."""
    own_model = body.replace(b'model_name="', b'model_name="%b/' % host)
    return own_model.replace(b'"} ', b'",worker_addr="grpc://%b:8001"} ' % host)


@cache
def cut(body: bytes) -> tuple[list[bytes], int, int, int]:
    """Return a body's lines, the index of a counter's line, and begin and end of a histogram's label set."""
    lines = body.splitlines(keepends=True)
    counters = [place for place, line in enumerate(lines) if line.startswith(_COUNTER)]
    ends = [place for place, line in enumerate(lines, 1) if line.startswith(_HISTOGRAM_END)]
    middle = len(ends) // 2
    return lines, counters[len(counters) // 2], ends[middle - 1], ends[middle]


def with_new_series(body: bytes, turn: int) -> bytes:
    """Return a body with a further counter series every turn, and a histogram label set that is new each turn.

    After `_LIFE` turns the additional counter series start over, as when a worker restarts.
    """
    lines, counter, begin, end = cut(body)
    adapters = [b'{adapter="%d",' % number for number in range(turn - turn % _LIFE, turn + 1)]
    new = {
        counter: [lines[counter].replace(b"{", adapter) for adapter in adapters],
        end: [line.replace(b"{", adapters[-1]) for line in lines[begin:end]],
    }
    lines = list(lines)
    for place in sorted(new, reverse=True):
        lines[place:place] = new[place]
    return b"".join(lines)


class Worker(asyncio.Protocol):
    """A connection to a worker; its local address says to which."""

    def __init__(self, bodies: Callable[[str], Iterator[bytes]], hanging: Collection[str]) -> None:
        self._bodies_of = bodies
        self._others = {path: answer(*rest) for path, rest in SGLANG.items()}
        self._hanging = hanging

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note which worker the connection is to."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        host = transport.get_extra_info("sockname")[0]
        self._hangs = host in self._hanging
        self._bodies = self._bodies_of(host)

    def data_received(self, data: bytes) -> None:
        """Answer a request. All clients here send a request in one piece."""
        path = data.split(b" ", 2)[1].partition(b"?")[0]
        if self._hangs:
            return
        if path == b"/metrics":
            self._transport.write(answer("text/plain; version=0.0.4", next(self._bodies)))
        else:
            missing = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
            self._transport.write(self._others.get(path, missing))


async def main(options: argparse.Namespace) -> None:
    """Serve until killed."""
    recorded = [file.read_bytes() for file in options.bodies]

    @cache
    def bodies(host: str) -> Iterator[bytes]:
        own = [of_its_own(body, host.encode()) for body in recorded] if options.distinct else recorded
        if options.new_series:
            return (with_new_series(own[turn % len(own)], turn) for turn in count())
        return (own[turn % len(own)] for turn in count(int(host.rpartition(".")[2])))

    await asyncio.get_running_loop().create_server(
        lambda: Worker(bodies, options.hang.split(",")), "0.0.0.0", options.port, backlog=1024
    )
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    _parser = argparse.ArgumentParser()
    _parser.add_argument("port", type=int)
    _parser.add_argument("bodies", nargs="+", type=Path)
    _parser.add_argument("--hang", default="", metavar="ADDRESS,...")
    _parser.add_argument("--distinct", action="store_true")
    _parser.add_argument("--new-series", action="store_true")
    asyncio.run(main(_parser.parse_args()))
