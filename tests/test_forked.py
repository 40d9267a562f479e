"""A function in a forked process: real forks, each from a fresh process without threads."""

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parents[1]


def run(body: str) -> "subprocess.CompletedProcess[str]":
    """Run a script."""
    code = "import os, signal, sys, threading\nfrom exporter.forked import in_child\n" + dedent(body)
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )


def test_it_returns_what_the_function_does_without_its_imports() -> None:
    done = run("""
        def answer():
            import decimal
            return decimal.Decimal(1), os.getpid(), "x" * 1_000_000
        modules = set(sys.modules)
        number, pid, text = in_child(answer)
        print(number, pid != os.getpid(), len(text), os.listdir("/proc/self/task") == [str(os.getpid())])
    """)
    assert (done.stdout, done.stderr) == ("1 True 1000000 True\n", "")


def test_it_raises_what_is_expected() -> None:
    done = run("""
        def fail():
            raise LookupError("a fault")
        try:
            in_child(fail, LookupError)
        except LookupError as error:
            print(repr(error))
    """)
    assert (done.stdout, done.stderr) == ("LookupError('a fault')\n", "")


def test_a_defect_is_printed_where_it_happened() -> None:
    done = run("""
        def fail():
            raise ZeroDivisionError("a defect")
        try:
            in_child(fail, LookupError)
        except ChildProcessError as error:
            print(error)
    """)
    assert done.stdout == "its process ended with 1\n"
    assert done.stderr.endswith("ZeroDivisionError: a defect\n")
    assert done.stderr.count("Traceback") == 1


def test_a_child_that_is_killed_is_told() -> None:
    done = run("""
        try:
            in_child(lambda: os.kill(os.getpid(), signal.SIGKILL))
        except ChildProcessError as error:
            print(error)
    """)
    assert (done.stdout, done.stderr) == ("its process ended with -9\n", "")


INTERRUPTED = """
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, if the tests run in the background
    try:
        in_child(interrupt)
    except KeyboardInterrupt:
        print("interrupted")
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        print("no child")
"""


def test_an_interrupt_ends_the_child() -> None:
    done = run(
        """
    def interrupt():
        while open(f"/proc/{os.getppid()}/stat").read().split()[2] != "S":  # until the parent waits for an answer
            pass
        os.kill(os.getppid(), signal.SIGINT)
        signal.pause()
    """
        + INTERRUPTED
    )
    assert (done.stdout, done.stderr) == ("interrupted\nno child\n", "")


def test_an_interrupt_right_after_the_fork_leaves_no_child() -> None:
    done = run(
        """
    def interrupt():
        os.kill(os.getppid(), signal.SIGINT)
        signal.sigtimedwait([], 1)
    """
        + INTERRUPTED
    )
    assert (done.stdout, done.stderr) == ("interrupted\nno child\n", "")


def test_a_parent_that_is_killed_leaves_no_traceback() -> None:
    done = run("""
        def orphan():
            parent = os.getppid()
            os.kill(parent, signal.SIGKILL)
            while os.getppid() == parent:
                pass
            return "for nobody"
        in_child(orphan)
    """)
    assert (done.returncode, done.stdout, done.stderr) == (-9, "", "")


def test_nothing_is_said_twice() -> None:
    done = run("""
        print("once", end="")  # which waits in a buffer that the child has too
        in_child(lambda: None)
    """)
    assert done.stdout == "once"
