import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from exporter.discovery.servers import Server
from exporter.discovery.workers import Identity, Worker
from exporter.node.members import Choice, Members, decide

CHOICE = Choice(most=256, forget_after=10.0)


def worker(inode: int, port: int | None = None, path: str = "/m", command: str = "serve") -> Worker:
    server = Server(inode, port, "grpc", "0.0.0.0", inode) if port else None
    identity = Identity(8, inode, 1, 0)
    return Worker(identity, path, (inode,), frozenset({0}), server, (), tuple(command.split()))


def labels_of(found: Worker) -> Mapping[str, str]:
    return {"worker_addr": f"grpc://n:{found.port}"} if found.port else {}


class Story:
    """Looks, one after another, a second apart."""

    def __init__(self, choice: Choice = CHOICE) -> None:
        self.members = Members()
        self.now = 100.0
        self._choice = choice

    def look(self, *found: Worker, after: float = 1.0) -> list[tuple[str, bool]]:
        """Return the names of the members after a look, and whether each is live."""
        self.now += after
        self.members = decide(self.members, found, self.now, self._choice, labels_of)
        return [(member.name, member.ended is None) for member in self.members.served.values()]


def test_an_ended_worker_stays_for_a_while() -> None:
    story = Story()
    assert story.look(worker(1, 8001)) == [("grpc://n:8001", True)]
    assert story.look() == [("grpc://n:8001", False)]
    assert story.look(after=9.9) == [("grpc://n:8001", False)]
    assert story.look(after=0.1) == []


def test_one_that_comes_back_at_an_ended_ones_address_replaces_it() -> None:
    story = Story()
    story.look(worker(1, 8001))
    story.look()
    assert story.look(worker(2, 8001)) == [("grpc://n:8001", True)]
    assert [identity.inode for identity in story.members.served] == [2]


def test_an_ended_one_that_writes_again_is_live_again() -> None:
    story = Story()
    story.look(worker(1, 8001))
    story.look()
    assert story.look(worker(1, 8001)) == [("grpc://n:8001", True)]


def test_two_of_one_address_are_told_apart_by_directory() -> None:
    story = Story()
    assert story.look(worker(1, 8001, "/a"), worker(2, 8001, "/b")) == [("grpc://n:8001", True), ("/b", True)]
    assert [dict(member.labels) for member in story.members.served.values()] == [
        {"worker_addr": "grpc://n:8001"},
        {"worker_addr": "grpc://n:8001", "directory": "/b"},
    ]


def test_two_of_one_address_and_one_path_are_told_apart_by_a_process() -> None:
    story = Story()
    names = story.look(worker(1, 8001), worker(2, 8001), worker(3, 8001))
    assert [name for name, _ in names] == ["grpc://n:8001", "/m", "/proc/3/root/m"]


def test_a_worker_without_a_port_is_named_by_its_directory() -> None:
    story = Story()
    assert story.look(worker(1), worker(2, path="/\udcff")) == [("/m", True), ("/\\udcff", True)]


def test_a_server_that_begins_to_listen_renames_its_worker() -> None:
    story = Story()
    story.look(worker(1))
    before = story.members.served[worker(1).identity]
    assert story.look(worker(1, 8001)) == [("grpc://n:8001", True)]
    assert story.members.served[worker(1).identity].labels is not before.labels


def test_a_server_that_is_lost_for_a_look_renames_nothing() -> None:
    story = Story()
    story.look(worker(1, 8001))
    labels = story.members.served[worker(1).identity].labels
    assert story.look(worker(1)) == [("grpc://n:8001", True)]
    assert story.members.served[worker(1).identity].labels is labels


def test_the_newest_are_left_out_where_there_are_too_many() -> None:
    story = Story(replace(CHOICE, most=2))
    found: Sequence[Worker] = [worker(port, port, f"/{port}") for port in (1, 2, 3, 4)]
    assert [name for name, _ in story.look(*found)] == ["grpc://n:1", "grpc://n:2"]
    assert story.members.left_out == 2
    assert [name for name, _ in story.look(*found[1:])] == ["grpc://n:1", "grpc://n:2", "grpc://n:3"]
    assert story.members.left_out == 1
    assert len(story.members.live) == 2


def test_of_too_many_ended_ones_those_stay_that_ended_last() -> None:
    story = Story(replace(CHOICE, most=2, forget_after=1000.0))
    for port in range(1, 6):
        found = story.look(worker(port, port, f"/{port}"))
    assert found == [("grpc://n:3", False), ("grpc://n:4", False), ("grpc://n:5", True)]


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        (replace(CHOICE, match=re.compile("sglang")), ["grpc://n:1"]),
        (replace(CHOICE, ignore=re.compile("sglang")), ["grpc://n:2"]),
        (replace(CHOICE, match=re.compile("launch"), ignore=re.compile("vllm")), ["grpc://n:1"]),
    ],
)
def test_command_lines_choose(choice: Choice, names: list[str]) -> None:
    found = worker(1, 1, command="python -m sglang.launch"), worker(2, 2, command="python -m vllm.launch")
    assert [name for name, _ in Story(choice).look(*found)] == names
