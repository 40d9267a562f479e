"""The simulated servers: which number of a worker -> its size, its pace and its clients. No two are alike."""

from exporter.demo.model import Server, ServerSpec
from exporter.demo.story import Story
from exporter.demo.workload import Traffic, generator

CACHES = (40_960, 65_536, 98_304)
"""Tokens that a server's KV cache may hold."""
BURST_FACTOR = 2.0
"""Bursts that leave the story to be seen."""


def simulated_server(number: int, speed: float = 1.0) -> Server:
    """Return the server of a worker, in all its processes the same; the first, 0, is the usual one."""
    spec, rate = ServerSpec(), Traffic.mean_rate
    if number:
        rng = generator(number, "variety")
        spec = ServerSpec(kv_capacity=rng.choice(CACHES), pace=rng.uniform(0.8, 1.5))
        rate *= rng.uniform(0.6, 1.1)
    story = Story(speed=speed)
    return Server(number, spec, Traffic(mean_rate=rate, story=story, burst_factor=BURST_FACTOR))
