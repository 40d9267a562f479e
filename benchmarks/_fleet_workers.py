"""Many HTTP workers in one process, on addresses of the loopback network: 127.1.0.1, 127.1.0.2, ...

    python -m benchmarks._fleet_workers PORT BODY... --hang=N

Worker K answers `/metrics` with the bodies in turn, beginning with the Kth. The last N workers answer nothing. To the
SMG gateway each of them looks like an SGLang server.
"""

import asyncio
import json
import sys
from itertools import count
from pathlib import Path

MODEL = {"model_path": "m", "served_model_name": "m", "tp_size": 1, "dp_size": 1}
SGLANG = {
    b"/health": ("text/plain", b"OK"),
    b"/v1/models": ("application/json", json.dumps({"object": "list", "data": [{"id": "m"}]}).encode()),
    b"/model_info": ("application/json", json.dumps(MODEL).encode()),
    b"/server_info": ("application/json", json.dumps(MODEL).encode()),
}


def address(number: int) -> str:
    """Return the address of a worker, counted from 0."""
    return f"127.1.{(number + 1) // 250}.{(number + 1) % 250 + 1}"


def answer(content_type: str, body: bytes) -> bytes:
    """Return a whole HTTP answer."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Worker(asyncio.Protocol):
    """A connection to some worker, by the address that it was made to."""

    def __init__(self, bodies: list[bytes], hanging: set[str]) -> None:
        self._bodies = [answer("text/plain; version=0.0.4", body) for body in bodies]
        self._others = {path: answer(*rest) for path, rest in SGLANG.items()}
        self._hanging = hanging
        self._turn = count()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take note of whom it is to."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        host = transport.get_extra_info("sockname")[0]
        self._hangs = host in self._hanging
        self._turn = count(int(host.rpartition(".")[2]))

    def data_received(self, data: bytes) -> None:
        """Answer a request; each comes in one piece, as all of these clients send it."""
        path = data.split(b" ", 2)[1].partition(b"?")[0]
        if self._hangs:
            return
        if path == b"/metrics":
            self._transport.write(self._bodies[next(self._turn) % len(self._bodies)])
        else:
            missing = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
            self._transport.write(self._others.get(path, missing))


async def main(port: int, bodies: list[bytes], hanging: set[str]) -> None:
    """Serve until killed."""
    await asyncio.get_running_loop().create_server(
        lambda: Worker(bodies, hanging), "0.0.0.0", port, backlog=1024
    )
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    _port, *_files, _hanging = sys.argv[1:]
    _bodies = [Path(file).read_bytes() for file in _files]
    asyncio.run(main(int(_port), _bodies, set(_hanging.removeprefix("--hang=").split(","))))
