"""A function's result without its memory: it runs in a forked process, and what it imported ends with that."""

import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn, TypeVar

T = TypeVar("T")


def in_child(function: Callable[[], T], *expected: type[Exception]) -> T:
    """Return what `function` returns, or raise what it raises of the `expected` kinds; both have to be picklable.

    Any other exception is a defect: the child prints its traceback, and ChildProcessError is raised here. No other
    thread may run yet: a fork copies the locks that it holds, but not the thread.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _answer(function, expected, writer)
    os.close(writer)
    try:
        with open(reader, "rb") as pipe:  # noqa: PTH123 - no path
            answer = pipe.read()
    except BaseException:  # an interrupt: nobody waits for the answer any more
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        _, status = os.waitpid(child, 0)
    if not answer:
        raise ChildProcessError(f"its process ended with {os.waitstatus_to_exitcode(status)}")
    result, error = pickle.loads(answer)  # noqa: S301 - our own words
    if error:
        raise error
    returned: T = result
    return returned


def _answer(function: Callable[[], object], expected: tuple[type[Exception], ...], writer: int) -> NoReturn:
    """Write what comes of `function`, and end this process: nothing of its parent's is for it to flush or clean up."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C is the parent's to tell
    try:
        try:
            answer = pickle.dumps((function(), None))
        except expected as error:
            answer = pickle.dumps((None, error))
        with open(writer, "wb") as pipe, suppress(BrokenPipeError):
            pipe.write(answer)
        os._exit(0)
    except BaseException:  # noqa: BLE001 - a defect, which must not run on as a second parent
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(1)
