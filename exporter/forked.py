"""Runs a function in a forked child, so that memory of its imports is freed when the child ends."""

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
    """Return the result of `function`, or raise its exception, if `expected`. Both must pickle.

    Any other exception is a defect: the child prints its traceback, and ChildProcessError is raised here. Call it
    before any thread starts: a fork copies locks held by other threads, but not the threads that would release them.
    """
    reader, writer = os.pipe()
    # An interrupt between fork and try would leave the child behind: it waits until the child can be killed for it.
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    child = os.fork()
    if child == 0:
        os.close(reader)
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # at Ctrl-C, the parent prints the message
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        _answer(function, expected, writer)
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        os.close(writer)
        with open(reader, "rb") as pipe:  # noqa: PTH123 - no path
            answer = pipe.read()
    except BaseException:  # usually KeyboardInterrupt: the answer is not needed any more
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        _, status = os.waitpid(child, 0)
    if not answer:
        raise ChildProcessError(f"its process ended with {os.waitstatus_to_exitcode(status)}")
    result, error = pickle.loads(answer)  # noqa: S301 - written by our own child
    if error:
        raise error
    returned: T = result
    return returned


def _answer(function: Callable[[], object], expected: tuple[type[Exception], ...], writer: int) -> NoReturn:
    """In the child: write the result of `function`, and end with os._exit, without the parent's cleanup handlers."""
    try:
        try:
            answer = pickle.dumps((function(), None))
        except expected as error:
            answer = pickle.dumps((None, error))
        # The close writes what is buffered, so it is what fails if the parent is gone.
        with suppress(BrokenPipeError), open(writer, "wb") as pipe:
            pipe.write(answer)
        os._exit(0)
    except BaseException:  # noqa: BLE001 - a defect; the child must not continue as a second parent
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(1)
