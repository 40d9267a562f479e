"""The simulated servers: the same in all processes of a worker, no two alike, and their story can be seen."""

from itertools import combinations

import pytest

from exporter.demo.events import Aborted, Finished, FirstToken, ForwardPass, PassKind
from exporter.demo.model import Server, ServerSpec
from exporter.demo.story import ACTS
from exporter.demo.variety import simulated_server

ALL = 16
"""As many workers as there can be."""


def test_a_number_is_one_server() -> None:
    first, second = simulated_server(3), simulated_server(3)
    assert first.spec == second.spec
    assert first.advance(60) == second.advance(60)
    assert first.load == second.load


def test_no_two_are_alike() -> None:
    servers = [simulated_server(number) for number in range(ALL)]
    assert servers[0].spec == ServerSpec()
    for one, other in combinations([(server.spec, server.advance(20)) for server in servers], 2):
        assert one[0] != other[0]
        assert one[1] != other[1]


def act_by_act(server: Server) -> dict[str, dict[str, float]]:
    """Play a story; return of each act the queue's peak, the fullest cache, and the latencies."""
    found = {}
    end = 0.0
    for act in ACTS:
        start, end = end, end + act.seconds
        loads, events = [], []
        for step in range(int(start), int(end)):
            events += server.advance(step + 1)
            loads.append(server.load)
        decodes = [it for it in events if isinstance(it, ForwardPass) and it.kind is PassKind.DECODE]
        firsts = sorted(it.time_to_first_token for it in events if isinstance(it, FirstToken))
        found[act.name] = {
            "queued": max(load.queued for load in loads),
            "kv": max(load.kv_used for load in loads) / server.spec.kv_capacity,
            "pass": sum(it.forward_seconds for it in decodes) / len(decodes),
            "first token": firsts[len(firsts) // 2],
            "finished": sum(isinstance(it, Finished) for it in events),
            "aborted": sum(isinstance(it, Aborted) for it in events),
        }
    return found


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_story_can_be_seen(number: int) -> None:
    acts = act_by_act(simulated_server(number))
    quiet, rush, _, long, lag, after = acts.values()
    assert quiet["queued"] < rush["queued"]
    assert quiet["kv"] < rush["kv"]
    assert rush["finished"] > 2 * quiet["finished"]
    assert long["kv"] > quiet["kv"]
    assert lag["pass"] > 1.7 * max(quiet["pass"], after["pass"])


def test_the_first_one_has_more_than_it_can_bear_in_the_rush_and_recovers() -> None:
    acts = act_by_act(simulated_server(0))
    quiet, rush, *_, after = acts.values()
    assert quiet["queued"] < 3
    assert rush["queued"] > 20
    assert rush["kv"] > 0.95
    assert rush["first token"] > 10 * after["first token"]
    assert sum(act["aborted"] for act in acts.values()) > 0
