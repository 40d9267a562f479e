"""A thin reader of /proc: values of one process at a time. It only reads, and decides nothing."""

import errno
import os
import stat as modes
from collections.abc import Iterator, Mapping

from exporter.discovery import parsing
from exporter.discovery.parsing import OpenFiles, Socket, Stat, Status
from exporter.discovery.rooted import open_directory, read_beginning

_MAX_TEXT = 1 << 20
"""Bytes of a command line or environment that are read at most."""
_CHUNK = 1 << 16

_SHORTAGES = {errno.EMFILE, errno.ENFILE}


class Proc:
    """The processes of /proc. A process that has ended gives None or nothing; PermissionError says: not for us.

    Whatever else a process makes fail gives nothing, too: it can open a file whose path is too long to be read.
    """

    def __init__(self, path: str = "/proc") -> None:
        """Read the processes of the /proc that is mounted at `path`."""
        self.path = path

    def listing(self) -> dict[int, int]:
        """Return the processes that can be seen, kernel threads included: the inode number of each one's directory.

        A later process of the same pid has another number. So may the same one, once the kernel was short of memory.
        """
        with os.scandir(self.path) as entries:
            return {int(entry.name): entry.inode() for entry in entries if entry.name.isdigit()}

    def last_pid(self) -> int:
        """Return the pid that was given last in our pid namespace, to a process or a thread; 0 if it is not known."""
        try:
            with open(f"{self.path}/loadavg", "rb") as file:  # noqa: PTH123 - as below
                return int(file.read().split()[-1])
        except (OSError, ValueError, IndexError):
            return 0

    def mark(self, pid: int) -> int:
        """Return the number that `listing` gives of a process; 0 if there is none of that pid."""
        try:
            return os.stat(f"{self.path}/{pid}").st_ino  # noqa: PTH116 - plain strings
        except OSError:
            return 0

    def hides_others(self) -> bool:
        """Whether the processes of other users are hidden from us: even the first one of the pid namespace is."""
        try:
            return self.stat(1) is None
        except PermissionError:
            return True

    def stat(self, pid: int) -> Stat | None:
        """Return parent, group and start; None if the process has ended or is a kernel thread."""
        text = self._read(pid, "stat")
        return parsing.stat(text) if text else None

    def status(self, pid: int) -> Status | None:
        """Return user, capabilities and pids; None if the process has ended."""
        text = self._read(pid, "status")
        return parsing.status(text) if text else None

    def command(self, pid: int) -> tuple[str, ...]:
        """Return the words of the command line."""
        return parsing.words(self._read(pid, "cmdline"))

    def executable(self, pid: int) -> str:
        """Return the path of the program that the process runs, which it cannot change as it can its command line."""
        try:
            return os.readlink(f"{self.path}/{pid}/exe")  # noqa: PTH115 - as above
        except OSError as error:
            _pass_over(error)
            return ""

    def variable(self, pid: int, name: bytes) -> str:
        """Return a variable of the environment that the process was started with; empty if it has none."""
        return parsing.variable(self._read(pid, "environ"), name)

    def namespace(self, pid: int, kind: str) -> int:
        """Return the number of a process's namespace of a kind: `pid`, `net`; 0 if the process has ended."""
        try:
            return os.stat(f"{self.path}/{pid}/ns/{kind}").st_ino  # noqa: PTH116 - as above
        except OSError as error:
            _pass_over(error)
            return 0

    def open_files(self, pid: int) -> OpenFiles:
        """Return the multiprocess directories and sockets of a process's descriptors."""
        paths, sockets = set(), set()
        directory = f"{self.path}/{pid}/fd"
        try:
            names = os.listdir(directory)  # noqa: PTH208 - as above
        except OSError as error:
            _pass_over(error)
            names = []
        for name in names:
            try:
                link = os.readlink(f"{directory}/{name}")  # noqa: PTH115 - as above
                if (inode := parsing.socket_inode(link)) is not None:
                    sockets.add(inode)
                elif ".db" in link and self._is_writable(f"{directory}/{name}"):
                    paths.add(link)
            except OSError as error:
                _pass_over(error)
                continue
        return OpenFiles(*parsing.directories(paths), frozenset(sockets))

    def mapped(self, pid: int) -> OpenFiles:
        """Return the multiprocess directories of a process's mappings; slow where there are thousands."""
        try:
            with open(f"{self.path}/{pid}/maps", "rb") as lines:  # noqa: PTH123 - as above
                return OpenFiles(*parsing.mapped(lines), frozenset())
        except OSError as error:
            _pass_over(error)
            return OpenFiles(frozenset(), frozenset(), frozenset())

    def listeners(self, pid: int | str = "self") -> Mapping[int, Socket]:
        """Return the listening TCP sockets of a process's network namespace, by inode number."""
        found: dict[int, Socket] = {}
        for table in ("tcp", "tcp6"):
            try:
                with open(f"{self.path}/{pid}/net/{table}", encoding="ascii") as lines:  # noqa: PTH123 - as above
                    found.update(parsing.listeners(lines))
            except OSError:  # the process has ended, or this kernel has no IPv6
                continue
        return found

    def addresses(self, pid: int) -> Iterator[str]:
        """Yield the addresses of a process's network namespace that others may reach, IPv4 first."""
        yield from parsing.local_addresses(self._read(pid, "net/fib_trie").decode())
        yield from parsing.global_addresses6(self._read(pid, "net/if_inet6").decode())

    def container_id(self, pid: int) -> str:
        """Return the id of a process's container; an empty text if it is in none."""
        return parsing.container_id(self._read(pid, "cgroup").decode(errors="replace"))

    def open_directory(self, pid: int, path: str) -> int:
        """Return an O_PATH descriptor of a directory as the process sees it; OSError if that fails."""
        return open_directory(f"{self.path}/{pid}/root", path)

    def text(self, pid: int, path: str) -> str:
        """Return the beginning of a regular file as the process sees it; an empty text if there is none."""
        try:
            return read_beginning(f"{self.path}/{pid}/root", path).decode(errors="replace")
        except OSError:
            return ""

    def _is_writable(self, link: str) -> bool:
        """Whether a descriptor is open for writing: exporters and collectors only read the files."""
        return bool(os.lstat(link).st_mode & modes.S_IWUSR)

    def _read(self, pid: int, name: str) -> bytes:
        try:
            descriptor = os.open(f"{self.path}/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            _pass_over(error)
            return b""
        text = b""
        try:
            while len(text) < _MAX_TEXT and (more := os.read(descriptor, _CHUNK)):
                text += more
        except OSError as error:
            _pass_over(error)
            return b""
        finally:
            os.close(descriptor)
        return text


def _pass_over(error: OSError) -> None:
    """Raise an error that is not the process's doing: it is not for us, or we have no descriptor left."""
    if isinstance(error, PermissionError) or error.errno in _SHORTAGES:
        raise error
