import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from exporter.multiproc.processes import Process, all_pids, alone_in_pid_namespace, find_process

BOOT = 1_700_000_000
KERNEL_THREAD = 0x00200000


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "stat").write_text(f"cpu  1 2 3\nintr 4\nctxt 5\nbtime {BOOT}\nprocesses 6\n")
    return tmp_path


def add(
    proc: Path, pid: str, *, name: str = "python3", state: str = "S", flags: int = 0, start: int = 100
) -> None:
    """Write the stat of a process as the kernel does: pid (name) state, then numbers; the start is the 22nd field."""
    fields = [state, *["1", "1", "1", "0", "-1"], str(flags), *["0"] * 12, str(start), *["9"] * 30]
    (proc / pid).mkdir()
    (proc / pid / "stat").write_text(f"{pid} ({name}) {' '.join(fields)}\n")


@pytest.mark.parametrize("state", "RSDTtIPW")
def test_states_of_the_living(proc: Path, state: str) -> None:
    add(proc, "7", state=state, start=250)
    assert find_process("7", str(proc)) == Process("7", 250, BOOT + 250 / os.sysconf("SC_CLK_TCK"))


@pytest.mark.parametrize("state", "ZXx")
def test_zombies_write_no_more(proc: Path, state: str) -> None:
    add(proc, "7", state=state)
    assert find_process("7", str(proc)) is None


def test_kernel_threads_never_wrote(proc: Path) -> None:
    add(proc, "2", name="kthreadd", flags=KERNEL_THREAD | 0x40)
    assert find_process("2", str(proc)) is None


@pytest.mark.parametrize(
    "name", ["a b", "sglang::scheduler_TP0", "(sd-pam)", "evil) Z 1 1", ")", "", "a\nb", "ü"]
)
def test_names_may_hold_anything(proc: Path, name: str) -> None:
    add(proc, "7", name=name, start=5)
    found = find_process("7", str(proc))
    assert found
    assert found.start_ticks == 5


def test_nobody(proc: Path) -> None:
    assert find_process("7", str(proc)) is None


def exists(_pid: int, _signal: int) -> None:
    raise PermissionError


def test_one_that_exists_but_is_hidden_is_not_nobody(proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "kill", exists)
    with pytest.raises(PermissionError, match="process 7 is hidden"):
        find_process("7", str(proc))


def test_one_that_may_not_be_looked_into(proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(proc, "7")
    monkeypatch.setattr("builtins.open", exists)
    with pytest.raises(PermissionError):
        find_process("7", str(proc))


def test_a_number_that_is_no_pid_is_nobody() -> None:
    assert find_process("9" * 30) is None


def test_all_pids(proc: Path) -> None:
    add(proc, "7")
    add(proc, "4123")
    assert set(all_pids(str(proc))) == {"7", "4123"}
    assert str(os.getpid()) in set(all_pids())


def test_a_process_that_ends_while_it_is_looked_at(proc: Path) -> None:
    (proc / "7").mkdir()
    assert find_process("7", str(proc)) is None


def test_a_process_with_another_start_is_another_one(proc: Path, tmp_path: Path) -> None:
    add(proc, "7", start=5)
    before = find_process("7", str(proc))
    (proc / "7" / "stat").unlink()
    (proc / "7").rmdir()
    add(proc, "7", start=6)
    assert find_process("7", str(tmp_path)) != before


def test_this_process() -> None:
    found = find_process(str(os.getpid()))
    assert found
    assert found.pid == str(os.getpid())
    assert time.time() - 3600 < found.started <= time.time() + 2
    assert find_process(str(os.getpid())) == found


def test_a_child_through_its_life() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert find_process(str(child.pid))
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert find_process(str(child.pid)) is None  # a zombie now
    finally:
        child.kill()
        child.communicate()
    assert find_process(str(child.pid)) is None


@pytest.mark.parametrize(("pid", "alone"), [(1, True), (2, False)])
def test_alone_in_pid_namespace(monkeypatch: pytest.MonkeyPatch, pid: int, *, alone: bool) -> None:
    monkeypatch.setattr(os, "getpid", lambda: pid)
    assert alone_in_pid_namespace() is alone
