from collections.abc import Mapping, Sequence

import pytest

from exporter.discovery.parsing import Socket
from exporter.discovery.servers import (
    Host,
    Process,
    Server,
    ancestors,
    find_server,
    named_port,
    worker_address,
)

SPAWNED = ("python", "-c", "from multiprocessing.spawn import spawn_main")


def process(pid: int, parent: int, *command: str, group: int = 10, net: int = 1) -> Process:
    return Process(pid, parent, 100 * pid, group, command=command, net_namespace=net)


def host(processes: Sequence[Process], held: Mapping[int, Mapping[int, int]]) -> Host:
    """Return a host on which processes, by pid, hold sockets: inode -> port."""
    sockets = {inode: Socket("127.0.0.1", port, 0) for some in held.values() for inode, port in some.items()}
    return Host(
        {one.pid: one for one in processes}, lambda pid: frozenset(held.get(pid, {})), lambda _: sockets
    )


def found(processes: Sequence[Process], held: Mapping[int, Mapping[int, int]]) -> tuple[int, int, str] | None:
    """Return the pid, port and scheme of the server of the last process."""
    server = find_server(processes[-1].pid, host(processes, held))
    return (server.pid, server.port, server.scheme) if server else None


def test_a_process_that_writes_and_listens_is_its_own_server() -> None:
    assert found([process(10, 1, "python", "app.py")], {10: {5: 8000}}) == (10, 8000, "http")


def test_a_scheduler_belongs_to_the_parent_that_listens() -> None:
    server = process(10, 1, "python", "-m", "sglang.launch_server", "--port", "8001", "--smg-grpc-mode")
    assert found([server, process(11, 10, *SPAWNED)], {10: {5: 8001}}) == (10, 8001, "grpc")


def test_a_scheduler_that_listens_for_its_own_purposes_is_no_server() -> None:
    chain = [process(10, 1, "python", "-m", "sglang.launch_server"), process(11, 10, *SPAWNED)]
    assert found(chain, {10: {5: 30000}, 11: {6: 29500}}) == (10, 30000, "http")


@pytest.mark.parametrize("name", ["sglang::scheduler_TP0", "VLLM::EngineCore"])
def test_a_part_that_renamed_itself_is_known_as_one(name: str) -> None:
    chain = [process(10, 1, "python", "-m", "server", "--port=30000"), process(11, 10, name)]
    assert found(chain, {10: {5: 30000}, 11: {6: 29500}}) == (10, 30000, "http")


def test_a_forked_worker_of_gunicorn_belongs_to_its_master() -> None:
    gunicorn = ("python", "gunicorn", "-b", "0.0.0.0:8000", "app")
    assert found([process(10, 1, *gunicorn), process(11, 10, *gunicorn)], {10: {5: 8000}, 11: {5: 8000}}) == (
        10,
        8000,
        "http",
    )


def test_a_parent_that_shares_the_socket_tells_the_scheme() -> None:
    chain = [process(10, 1, "python", "-m", "smg_grpc_servicer.sglang"), process(11, 10, "python", "part.py")]
    assert found(chain, {10: {5: 8000}, 11: {5: 8000}}) == (11, 8000, "grpc")


def test_a_parent_that_names_the_port_tells_the_scheme() -> None:
    chain = [process(10, 1, "serve", "--grpc-mode", "--port=8001"), process(11, 10, "python", "part.py")]
    assert found(chain, {11: {5: 8001}}) == (11, 8001, "grpc")


def test_a_shell_and_a_supervisor_between_are_passed_over() -> None:
    chain = [
        process(5, 1, "supervisord", group=5),
        process(9, 5, "sh", "-c", "python -m server --port 8001 --grpc", group=9),
        process(10, 9, "python", "-m", "server", "--port", "8001", "--grpc", group=9),
        process(11, 10, *SPAWNED, group=9),
    ]
    assert found(chain, {5: {4: 9001}, 10: {5: 8001}}) == (10, 8001, "grpc")


@pytest.mark.parametrize("command", [("sshd:", "listener"), ("supervisord", "-n")])
def test_a_login_or_a_supervisor_is_never_a_server(command: tuple[str, ...]) -> None:
    chain = [process(5, 1, *command, group=5), process(9, 5, "bash", group=9), process(10, 9, "python", "x")]
    assert found(chain, {5: {4: 22}}) is None


def test_a_server_whose_parts_have_a_process_group_of_their_own() -> None:
    chain = [process(5, 1, "python", "-m", "server", "--port", "8001", group=5), process(10, 5, *SPAWNED)]
    assert found(chain, {5: {4: 8001}}) == (5, 8001, "http")


def test_an_ancestor_in_another_network_namespace_is_no_server() -> None:
    chain = [process(5, 1, "proxy", "--port", "8001", net=2), process(10, 5, "python", "x", net=1)]
    assert found(chain, {5: {4: 8001}}) is None


@pytest.mark.parametrize(
    ("command", "port"),
    [
        (("serve", "--port", "9000"), 9000),
        (("serve", "--port=9000"), 9000),
        (("gunicorn", "-b", "[::]:9000"), 9000),
        (("serve", "--port", "7"), 8000),
        (("serve",), 8000),
    ],
)
def test_of_several_ports_the_named_one_counts_else_the_lowest(command: tuple[str, ...], port: int) -> None:
    assert found([process(10, 1, *command)], {10: {5: 8000, 6: 9000}}) == (10, port, "http")


def test_a_command_line_of_any_words_names_no_port() -> None:
    assert named_port(["x", "--port", "\udcff", "--port=²"]) is None
    assert named_port([]) is None


def test_a_circle_of_parents_ends() -> None:
    circle = {1: process(1, 2), 2: process(2, 1)}
    assert [one.pid for one in ancestors(1, circle)] == [1, 2]


@pytest.mark.parametrize(
    ("bound", "addresses", "address"),
    [
        ("10.0.0.7", ["10.9.9.9"], "grpc://10.0.0.7:8001"),
        ("2001:db8::1", [], "grpc://[2001:db8::1]:8001"),
        ("0.0.0.0", ["10.9.9.9"], "grpc://10.9.9.9:8001"),
        ("::", ["2001:db8::7"], "grpc://[2001:db8::7]:8001"),
        ("127.0.0.1", [], "grpc://gpu-1:8001"),
        ("::1", [], "grpc://gpu-1:8001"),
    ],
)
def test_the_host_of_a_workers_address(bound: str, addresses: list[str], address: str) -> None:
    assert worker_address(Server(10, 8001, "grpc", bound, 5), "gpu-1", addresses) == address
