"""Opens directories and files inside another process's root, so that no link and no `..` leads out of it.

What is in a container may be hostile: a directory may turn into a link while it is opened. The kernel resolves links
inside that root (openat2, Linux 5.6); where it cannot, a path with links is refused.
"""

import ctypes
import errno
import os
import stat
import struct

_OPENAT2 = 437  # the same number on every architecture
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_IN_ROOT = 0x10
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_BEGINNING = 1024
"""Bytes that are read of a file at most."""
_EMPTY_PATH = 0x1000  # AT_EMPTY_PATH
_BIRTH = 0x800  # STATX_BTIME
_BIRTH_OFFSET = 80  # of stx_btime in struct statx: seconds as int64, nanoseconds as uint32

_libc = ctypes.CDLL(None, use_errno=True)


def open_directory(root: str, path: str) -> int:
    """Return an O_PATH descriptor of the directory `path` as a process sees it whose root is at `root`.

    `root` is a trusted path such as `/proc/4711/root`. OSError if there is no such directory, or it may not be opened.
    """
    return _open(root, path, _DIRECTORY)


def _open(root: str, path: str, flags: int) -> int:
    top = os.open(root, _DIRECTORY)
    try:
        try:
            return _open_in_root(top, path, flags)
        except OSError as error:
            if error.errno not in {
                errno.ENOSYS,
                errno.EPERM,
            }:  # EPERM: a seccomp filter that does not know it
                raise
            return _open_without_links(top, path, flags)
    finally:
        os.close(top)


def read_beginning(root: str, path: str) -> bytes:
    """Return the first bytes of a regular file as a process sees it whose root is at `root`; OSError if that fails."""
    descriptor = _open(root, path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # opening a device or a pipe may do things
            raise OSError(errno.EINVAL, "not a regular file", path)
        file = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return os.read(file, _BEGINNING)
        finally:
            os.close(file)
    finally:
        os.close(descriptor)


def birth(descriptor: int) -> int:
    """Return when an open file or directory was made, in nanoseconds since 1970; 0 if the file system does not say."""
    buffer = ctypes.create_string_buffer(256)
    if _libc.statx(descriptor, b"", _EMPTY_PATH, _BIRTH, buffer):
        return 0
    (known,) = struct.unpack_from("=I", buffer)
    seconds, nanoseconds = struct.unpack_from("=qI", buffer, _BIRTH_OFFSET)
    return int(seconds * 10**9 + nanoseconds) if known & _BIRTH else 0


def _open_in_root(top: int, path: str, flags: int) -> int:
    how = struct.pack("=QQQ", flags, 0, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)
    name = os.fsencode(path)
    descriptor = _libc.syscall(_OPENAT2, top, name, how, ctypes.c_size_t(len(how)))
    if descriptor < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), path)
    return int(descriptor)


def _open_without_links(top: int, path: str, flags: int) -> int:
    """Open component by component; a link or `..` is refused."""
    descriptor = os.dup(top)
    names = [*filter(None, path.split("/"))]
    for at, name in enumerate(names, 1):
        if name == "..":
            os.close(descriptor)
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        try:
            inner = os.open(
                name, (flags if at == len(names) else _DIRECTORY) | os.O_NOFOLLOW, dir_fd=descriptor
            )
        finally:
            os.close(descriptor)
        descriptor = inner
    return descriptor
