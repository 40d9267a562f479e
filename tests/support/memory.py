"""By how much memory grows."""

import gc
import tracemalloc
from collections.abc import Callable


def growth(play: Callable[[], object], *, warm_up: int, rounds: int) -> int:
    """Return how many bytes Python allocates and does not free in `rounds` calls of `play`, after the `warm_up`."""

    def taken(calls: int) -> int:
        for _ in range(calls):
            play()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = taken(warm_up)
        return taken(rounds) - before
    finally:
        tracemalloc.stop()
