from collections.abc import Mapping

from exporter.discovery.parsing import Socket
from exporter.discovery.servers import Host, Process
from exporter.discovery.workers import Clue, Identity, Worker, find_workers

METRICS = (8, 100, 1)
OTHER = (8, 200, 1)


def process(pid: int, parent: int, *command: str, namespace: int = 0) -> Process:
    return Process(pid, parent, 1000 - pid, 10, command=command, pid_namespace=namespace)


def workers(
    clues: list[Clue], *processes: Process, held: Mapping[int, Mapping[int, int]] | None = None
) -> list[Worker]:
    sockets = {i: Socket("0.0.0.0", port, 0) for some in (held or {}).values() for i, port in some.items()}
    host = Host(
        {one.pid: one for one in processes},
        lambda pid: frozenset((held or {}).get(pid, {})),
        lambda _: sockets,
    )
    return list(find_workers(clues, host))


def test_the_writers_of_a_directory_are_one_worker_and_the_oldest_comes_first() -> None:
    clues = [Clue(pid, "/m", METRICS, is_writer=True) for pid in (11, 12)]
    (worker,) = workers(
        clues, process(10, 1, "serve"), process(11, 10), process(12, 10), held={10: {5: 8001}}
    )
    assert worker.pids == (12, 11)
    assert worker.identity == Identity(*METRICS, 0)
    assert worker.port == 8001
    assert worker.command == ("serve",)


def test_one_path_in_two_containers_is_two_workers() -> None:
    clues = [Clue(11, "/m", METRICS, is_writer=True), Clue(21, "/m", OTHER, is_writer=True)]
    found = workers(clues, process(11, 1, namespace=4), process(21, 1, namespace=5))
    assert [worker.identity for worker in found] == [Identity(*METRICS, 4), Identity(*OTHER, 5)]


def test_a_directory_shared_by_two_containers_is_one_worker() -> None:
    clues = [Clue(11, "/a", METRICS, is_writer=True), Clue(21, "/b", METRICS, is_writer=True)]
    (worker,) = workers(clues, process(11, 1, namespace=4), process(21, 1, namespace=5))
    assert worker.pid_namespaces == {4, 5}


def test_two_servers_of_one_directory_are_told() -> None:
    clues = [Clue(pid, "/m", METRICS, is_writer=True) for pid in (11, 12)]
    (worker,) = workers(clues, process(11, 1, "a"), process(12, 1, "b"), held={11: {5: 8002}, 12: {6: 8001}})
    assert worker.port == 8001
    assert [server.port for server in worker.others] == [8002]


def test_a_server_that_started_another_one_is_no_second_server() -> None:
    """As a launcher that listens itself: one part has another parent than the server."""
    clues = [Clue(pid, "/m", METRICS, is_writer=True) for pid in (11, 12)]
    (worker,) = workers(
        clues,
        process(10, 1, "launch", "--port", "7000"),
        process(11, 10, "serve", "--port", "8001"),
        process(12, 10, "part"),
        held={10: {5: 7000}, 11: {6: 8001}},
    )
    assert worker.server
    assert (worker.server.port, worker.others) == (8001, ())


def test_a_worker_without_a_port_is_known_by_its_first_process() -> None:
    (worker,) = workers([Clue(11, "/m", METRICS, is_writer=True)], process(11, 1, "zmq-worker"))
    assert worker.server is None
    assert worker.command == ("zmq-worker",)


def test_a_name_in_the_environment_counts_below_a_server() -> None:
    clues = [Clue(pid, "/m", METRICS, is_writer=False) for pid in (10, 11)]
    (worker,) = workers(clues, process(10, 1, "serve"), process(11, 10, "x"), held={10: {5: 8001}})
    assert worker.pids == (11,)
    assert worker.port == 8001


def test_a_name_in_the_environment_of_a_shell_or_an_exporter_is_no_worker() -> None:
    clues = [Clue(pid, "/m", METRICS, is_writer=False) for pid in (10, 20)]
    assert workers(clues, process(10, 1, "bash"), process(20, 1, "exporter"), held={20: {5: 18001}}) == []


def test_workers_are_sorted_by_port_and_those_without_come_last() -> None:
    clues = [Clue(pid, f"/{pid}", (8, pid, 1), is_writer=True) for pid in (11, 12, 13)]
    found = workers(
        clues, process(11, 1, "a"), process(12, 1, "b"), process(13, 1, "c"), held={13: {5: 1}, 12: {6: 2}}
    )
    assert [worker.path for worker in found] == ["/13", "/12", "/11"]
