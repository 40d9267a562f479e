"""The texts of /proc -> values. A process may put any bytes into its name, command line and environment."""

import ipaddress
import re
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

DIRECTORY_VARIABLE = b"PROMETHEUS_MULTIPROC_DIR"

_MULTIPROCESS_FILE = re.compile(r"(?:counter|gauge_[a-z]+|histogram|summary)_.+\.db", re.DOTALL)
_DELETED = " (deleted)"
_LISTENS = "0A"
_SOCKET = re.compile(r"socket:\[(\d+)\]")
_MAX_COMMAND, _MAX_WORDS = 16 << 10, 1024
"""Bytes and words of a command line that are kept: each process has one, and may make it as long as it likes."""
_KERNEL_THREAD = 0x00200000  # PF_KTHREAD of linux/sched.h
_ENDED = "ZXx"


class Stat(NamedTuple):
    """What `/proc/PID/stat` says of a process."""

    parent: int
    group: int
    """The process group."""
    start_ticks: int
    """Clock ticks from boot to the start of the process: together with the pid, they identify the process."""
    name: bytes = b""
    """The name, which is another one once the process runs another program."""


class Status(NamedTuple):
    """What `/proc/PID/status` says of a process."""

    uid: int
    capabilities: int
    """The permitted capabilities, as bits."""
    pids: tuple[int, ...]
    """Its pid in each pid namespace, from that of /proc's mount to its own."""


class Socket(NamedTuple):
    """A listening TCP socket."""

    host: str
    """The address it is bound to; an IPv4 address that is mapped into IPv6 is an IPv4 address here."""
    port: int
    uid: int


class OpenFiles(NamedTuple):
    """What a process has open or mapped that matters here."""

    directories: frozenset[str]
    """Directories with multiprocess files that it may write, as the process itself names them."""
    deleted: frozenset[str]
    """The same of files that have been deleted."""
    sockets: frozenset[int]
    """The inode numbers of its sockets."""


def stat(text: bytes) -> Stat | None:
    """Parse `/proc/PID/stat`; None if the process has ended or is a kernel thread."""
    # The name in parentheses may hold anything; what follows its last ")" are the fields from the third on.
    end = text.rindex(b")")
    state, parent, group, *rest = text[end + 2 :].decode().split()
    if state in _ENDED or int(rest[3]) & _KERNEL_THREAD:
        return None
    return Stat(int(parent), int(group), int(rest[16]), text[text.index(b"(") + 1 : end])


def status(text: bytes) -> Status:
    """Parse `/proc/PID/status`."""
    pids = _line(text, b"NSpid") or _line(text, b"Pid")
    return Status(
        int(_line(text, b"Uid").split()[1]), int(_line(text, b"CapPrm"), 16), tuple(map(int, pids.split()))
    )


def _line(text: bytes, name: bytes) -> bytes:
    """Return what a line says; nothing if there is none of that name. A process's name holds no line breaks there."""
    return text.partition(b"\n" + name + b":")[2].partition(b"\n")[0]


def words(text: bytes) -> tuple[str, ...]:
    """Parse `/proc/PID/cmdline`: its first words; undecodable bytes become surrogates."""
    kept = text[:_MAX_COMMAND].rstrip(b"\0").decode(errors="surrogateescape")
    return tuple(kept.split("\0", _MAX_WORDS)[:_MAX_WORDS]) if text else ()


def variable(environment: bytes, name: bytes) -> str:
    """Return a variable's value from `/proc/PID/environ`; an empty text if it is not set."""
    for each in environment.split(b"\0"):
        key, _, value = each.partition(b"=")
        if key == name:
            return value.decode(errors="surrogateescape")
    return ""


def mapped(lines: Iterable[bytes]) -> tuple[frozenset[str], frozenset[str]]:
    """Return the directories of multiprocess files in `/proc/PID/maps`, mapped to be written: existing and deleted."""
    paths = set()
    for line in lines:
        if b".db" in line:
            # Address, permissions, offset, device, inode, path; the path may hold spaces.
            parts = line.rstrip(b"\n").split(maxsplit=5)
            if len(parts) == 6 and parts[1].startswith(b"rw") and parts[1].endswith(b"s"):  # noqa: PLR2004 - as above
                paths.add(parts[5].decode(errors="surrogateescape").replace("\\012", "\n"))
    return directories(paths)


def directories(paths: Iterable[str]) -> tuple[frozenset[str], frozenset[str]]:
    """Return the directories of those paths that name multiprocess files: of existing files, and of deleted ones."""
    existing: set[str] = set()
    deleted: set[str] = set()
    for path in paths:
        directory, _, name = path.removesuffix(_DELETED).rpartition("/")
        if is_multiprocess_file(name):
            (deleted if path.endswith(_DELETED) else existing).add(directory or "/")
    return frozenset(existing), frozenset(deleted)


def is_multiprocess_file(name: str) -> bool:
    """Whether a file of that name is one of prometheus_client's multiprocess files."""
    return _MULTIPROCESS_FILE.fullmatch(name) is not None


def socket_inode(link: str) -> int | None:
    """Return the inode number of a socket from a link of `/proc/PID/fd`; None if the link is none of a socket's."""
    match = _SOCKET.fullmatch(link)
    return int(match[1]) if match else None


def listeners(lines: Iterable[str]) -> Iterator[tuple[int, Socket]]:
    """Yield the listening sockets of `/proc/PID/net/tcp` or `tcp6`, by inode number.

    The kernel lists them before all connections: the lines are not read any further, of which there may be 100,000.
    """
    for line in lines:
        parts = line.split()
        if parts[0] == "sl":
            continue
        if parts[3] != _LISTENS:
            return
        address, port = parts[1].split(":")
        yield int(parts[9]), Socket(_host(address), int(port, 16), int(parts[7]))


def local_addresses(fib_trie: str) -> Iterator[str]:
    """Yield a network namespace's own IPv4 addresses from `/proc/PID/net/fib_trie`, but for loopback and link-local."""
    address = ""
    for line in fib_trie.splitlines():
        _, arrow, text = line.partition("-- ")
        if arrow:
            address = text.strip()
        elif "/32 host LOCAL" in line:
            found = ipaddress.ip_address(address)
            if not (found.is_loopback or found.is_link_local):
                yield address


def global_addresses6(if_inet6: str) -> Iterator[str]:
    """Yield a network namespace's own global IPv6 addresses from `/proc/PID/net/if_inet6`."""
    for line in if_inet6.splitlines():
        address, _, _, scope, *_ = line.split()
        if scope == "00":
            yield str(ipaddress.IPv6Address(int(address, 16)))


def container_id(cgroup: str) -> str:
    """Return the container's id from `/proc/PID/cgroup`: 64 hexadecimal digits; an empty text if there is none."""
    found = re.findall(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])", cgroup)
    return found[-1] if found else ""


def _host(address: str) -> str:
    """Return the address that the kernel writes as 32-bit words in the host's byte order."""
    packed = b"".join(struct.pack("=I", int(address[at : at + 8], 16)) for at in range(0, len(address), 8))
    if len(packed) == 4:  # noqa: PLR2004 - the bytes of an IPv4 address
        return socket.inet_ntop(socket.AF_INET, packed)
    found = ipaddress.IPv6Address(packed)
    return str(found.ipv4_mapped or found)


def flattened(command: Sequence[str]) -> list[str]:
    """Return the words of a command line; those of `sh -c "..."` one by one."""
    return " ".join(command).split()


def options(command: Sequence[str]) -> Mapping[str, str]:
    """Return the options of a command line, `--name value` or `--name=value`; a switch has an empty value."""
    found: dict[str, str] = {}
    for word, following in pairwise([*flattened(command), ""]):
        if word.startswith("-"):
            name, equals, value = word.partition("=")
            found[name] = value if equals else "" if following.startswith("-") else following
    return found
