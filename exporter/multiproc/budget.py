"""A limit on the series of one worker: one that keeps making new ones must not use up the memory of all."""

from exporter.multiproc.faults import Fault

TOO_MANY = Fault("too_many_series", "has more series than --max-series allows: further ones are left out")


class Budget:
    """The series that all kinds of a worker's files may still add; a histogram's buckets count one by one."""

    def __init__(self, most: int) -> None:
        self.left = most
        """How many more there may be; below 0 for a histogram that was completed."""
