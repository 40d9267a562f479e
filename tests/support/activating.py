"""Play systemd's part of socket activation, in a process that then becomes the exporter.

`python -m tests.support.activating KIND ADDRESS NAME OPTIONS` opens a socket and passes it as a .socket unit would.
"""

import os
import socket
import sys


def opened(kind: str, address: str) -> int:
    """Return the descriptor of a socket of that kind, or of what is none."""
    if kind == "file":
        return os.open(address, os.O_RDONLY)
    if kind == "unix":
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(address)
        sock.listen()
    else:
        sock = socket.socket(type=socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
        sock.bind(("127.0.0.1", int(address)))
        if kind == "tcp":
            sock.listen()
    return sock.detach()


if __name__ == "__main__":
    kind, address, name, *options = sys.argv[1:]
    if kind != "none":
        os.dup2(opened(kind, address), 3)
        os.set_inheritable(3, True)  # noqa: FBT003 - where it was 3 already
    environment = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": name}
    command = [sys.executable, "-m", "exporter", *options]
    os.execve(command[0], command, {**os.environ, **environment})  # noqa: S606 - the pid has to stay
