import mmap
import os
import resource
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from exporter.discovery.parsing import DIRECTORY_VARIABLE
from exporter.discovery.proc import Proc
from tests.support.waiting import eventually

OWN = os.getpid()


def ended() -> int:
    """Return the pid of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_what_is_known_of_our_own_process() -> None:
    proc = Proc()
    stat, status = proc.stat(OWN), proc.status(OWN)
    assert stat
    assert status
    assert proc.listing()[OWN] == proc.mark(OWN) > 0
    assert stat.parent == os.getppid()
    assert stat.group == os.getpgrp()
    assert status.uid == os.geteuid()
    assert status.pids[-1] == OWN
    assert "pytest" in " ".join(proc.command(OWN))
    assert Path(proc.executable(OWN)) == Path(sys.executable).resolve()
    assert proc.namespace(OWN, "net") == Path("/proc/self/ns/net").stat().st_ino


def test_a_process_that_has_ended_has_nothing() -> None:
    proc, pid = Proc(), ended()
    assert pid not in proc.listing()
    assert proc.mark(pid) == 0
    assert proc.last_pid() > 0
    assert Proc("/nowhere").last_pid() == 0
    assert not proc.hides_others()
    assert proc.stat(pid) is None
    assert proc.status(pid) is None
    assert proc.command(pid) == ()
    assert not proc.executable(pid)
    assert not proc.variable(pid, DIRECTORY_VARIABLE)
    assert proc.namespace(pid, "pid") == 0
    assert not any(proc.open_files(pid))
    assert not any(proc.mapped(pid))
    assert proc.listeners(pid) == {}
    assert list(proc.addresses(pid)) == []
    assert not proc.container_id(pid)
    with pytest.raises(FileNotFoundError):
        proc.open_directory(pid, "/")


def test_files_that_are_open_or_mapped_to_be_written_are_found(tmp_path: Path) -> None:
    path = tmp_path / "counter_7.db"
    path.write_bytes(bytes(mmap.PAGESIZE))
    proc = Proc()
    with path.open("r+b") as file:
        assert str(tmp_path) in proc.open_files(OWN).directories
        mapping = mmap.mmap(file.fileno(), 0)
    assert str(tmp_path) in proc.mapped(OWN).directories
    path.unlink()
    assert str(tmp_path) in proc.mapped(OWN).deleted
    mapping.close()
    assert str(tmp_path) not in proc.mapped(OWN).deleted


def test_files_that_are_only_read_are_not(tmp_path: Path) -> None:
    path = tmp_path / "counter_7.db"
    path.write_bytes(bytes(mmap.PAGESIZE))
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ):
        assert str(tmp_path) not in Proc().open_files(OWN).directories
        assert str(tmp_path) not in Proc().mapped(OWN).directories


def test_an_open_file_whose_path_is_too_long_hides_no_other(tmp_path: Path) -> None:
    with ExitStack() as stack:
        top = os.open(tmp_path, os.O_PATH)
        for _ in range(20):  # 20 * 250 bytes: more than a link of /proc can tell
            stack.callback(os.close, top)
            os.mkdir("d" * 250, dir_fd=top)
            top = os.open("d" * 250, os.O_PATH, dir_fd=top)
        stack.callback(os.close, top)
        stack.enter_context((tmp_path / "counter_7.db").open("wb"))
        with pytest.raises(OSError, match="File name too long"):
            Path(f"/proc/self/fd/{top}").readlink()
        assert str(tmp_path) in Proc().open_files(OWN).directories


def test_that_no_descriptor_is_left_is_no_sign_that_a_process_has_ended() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            Proc().stat(OWN)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_listening_socket_is_found_by_its_inode(family: socket.AddressFamily, host: str) -> None:
    with socket.create_server((host, 0), family=family) as server:
        proc = Proc()
        held = proc.open_files(OWN).sockets & proc.listeners(OWN).keys()
        port = server.getsockname()[1]
        assert [(one.host, one.uid) for inode in held if (one := proc.listeners()[inode]).port == port] == [
            (host, os.geteuid())
        ]


def test_a_command_line_without_end_is_not_read_to_its_end() -> None:
    words = ["x" * 100_000] * 15
    with subprocess.Popen(["sh", "-c", "read wait", *words], stdin=subprocess.PIPE) as process:
        assert sum(map(len, Proc().command(process.pid))) < 1_200_000


def test_the_variable_of_another_process() -> None:
    with subprocess.Popen(
        ["cat"], stdin=subprocess.PIPE, env={"PROMETHEUS_MULTIPROC_DIR": "/run/metrics"}
    ) as process:
        found = eventually(lambda: Proc().variable(process.pid, DIRECTORY_VARIABLE), "its environment")
    assert found == "/run/metrics"


def test_a_kernel_without_ipv6_has_no_table_of_it(tmp_path: Path) -> None:
    (tmp_path / "1" / "net").mkdir(parents=True)
    (tmp_path / "1" / "net" / "tcp").write_text("  sl  local_address\n")
    assert Proc(str(tmp_path)).listeners(1) == {}


def test_a_text_as_the_process_sees_it(tmp_path: Path) -> None:
    (tmp_path / "name").write_bytes(b"inference\xff\n")
    proc = Proc()
    assert proc.text(OWN, str(tmp_path / "name")) == "inference\ufffd\n"
    assert not proc.text(OWN, str(tmp_path / "none"))
    assert not proc.text(ended(), str(tmp_path / "name"))
