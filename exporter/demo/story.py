"""What happens to a simulated worker from its start to its restart, act by act. Times are seconds since its start."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Act:
    """A stretch of time in which the same goes on."""

    name: str
    seconds: float
    """How long it lasts, at the usual speed."""
    rate: float = 1.0
    """Requests per second, as a multiple of the traffic's mean."""
    long_prompt: bool = False
    """Whether the first request has a very long prompt."""
    lag: float = 1.0
    """How many times as long a pass takes, because all ranks wait for the last one; that one counts as much less."""


ACTS = (
    Act("a quiet start", 75, rate=0.4),
    Act("a rush", 60, rate=2.0),
    Act("the queue drains", 45, rate=0.7),
    Act("a long prompt", 45, rate=0.9, long_prompt=True),
    Act("a rank lags", 60, rate=0.6, lag=2.5),
    Act("the rank keeps up again", 45, rate=1.0),
)


@dataclass(frozen=True)
class Story:
    """Acts in order; the last one goes on for ever."""

    acts: Sequence[Act] = ACTS
    speed: float = 1.0
    """How many times as fast they follow each other. Requests take as long as ever."""

    @property
    def seconds(self) -> float:
        """From the start to the end of the last act."""
        return sum(act.seconds for act in self.acts) / self.speed

    def act(self, time: float) -> Act:
        """Return the act at a moment."""
        end = 0.0
        for act in self.acts:
            end += act.seconds / self.speed
            if time < end:
                return act
        return self.acts[-1]


STEADY = Story((Act("the same all the time", 0),))
