"""Listening sockets on real interfaces."""

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from exporter.web import listen
from exporter.web.listen import Endpoint, ListenError, open_sockets


@contextmanager
def opened(hosts: list[str], port: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [stack.enter_context(sock) for sock in open_sockets(hosts, port)]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
    return port


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


def reach(host: str, port: int) -> None:
    socket.create_connection((host, port), timeout=5).close()


@needs_ipv6
def test_no_host_is_all_interfaces_of_both_families() -> None:
    port = free_port()
    with opened([], port) as sockets:
        assert sorted(sock.getsockname()[:2] for sock in sockets) == [("0.0.0.0", port), ("::", port)]
        reach("127.0.0.1", port)
        reach("::1", port)


@needs_ipv6
def test_an_ipv6_host_leaves_ipv4_alone() -> None:
    port = free_port()
    with opened(["::"], port), opened(["127.0.0.1"], port):
        reach("::1", port)
        reach("127.0.0.1", port)


def test_names_resolve_and_an_address_named_twice_is_opened_once() -> None:
    port = free_port()
    with opened(["localhost", "127.0.0.1"], port) as sockets:
        names = [sock.getsockname()[0] for sock in sockets]
        assert names.count("127.0.0.1") == 1
        reach("localhost", port)


def test_options() -> None:
    with opened(["127.0.0.1"], 0) as (sock,):
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
        assert not sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
        with socket.create_connection(sock.getsockname()), sock.accept()[0] as accepted:
            timeout = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
            assert timeout == listen.UNREAD_TIMEOUT_MS, "connections inherit it"


def test_a_taken_port_is_named_and_nothing_stays_open() -> None:
    with socket.create_server(("127.0.0.2", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ListenError) as caught:
            open_sockets(["127.0.0.1", "127.0.0.2"], port)
        error = caught.value
        assert (error.host, error.port, error.errno) == ("127.0.0.2", port, errno.EADDRINUSE)
        assert str(error) == f"cannot listen on 127.0.0.2, port {port}: the port is in use"
        with opened(["127.0.0.1"], port):
            reach("127.0.0.1", port)


def test_a_port_taken_on_one_interface_is_not_free_on_all() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ListenError, match=rf"^cannot listen on all interfaces, port {port}: .* in use$"):
            open_sockets([], port)


def test_an_address_of_another_machine() -> None:
    with pytest.raises(ListenError, match=r"192.0.2.1, port 1234: the address is not one of this machine$"):
        open_sockets(["192.0.2.1"], 1234)


@pytest.mark.parametrize("host", ["no such host", "a..b", "x" * 300, "\x00"])
def test_a_host_that_cannot_be_resolved(host: str) -> None:
    with pytest.raises(ListenError, match=r"port 1234: the host name cannot be resolved$"):
        open_sockets([host], 1234)


def without(monkeypatch: pytest.MonkeyPatch, family: int, number: int) -> None:
    real = listen._listen

    def fake(asked: int, address: object) -> socket.socket:
        if asked == family:
            raise OSError(number, "fake")
        return real(asked, address)

    monkeypatch.setattr(listen, "_listen", fake)


@pytest.mark.parametrize("number", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
def test_a_machine_without_ipv6_listens_on_ipv4(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    without(monkeypatch, socket.AF_INET6, number)
    with opened([], 0) as sockets:
        assert [sock.family for sock in sockets] == [socket.AF_INET]
    with pytest.raises(ListenError, match=r"^cannot listen on ::1, port 1234: "):
        open_sockets(["::1"], 1234)


def test_another_fault_of_ipv6_is_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, socket.AF_INET6, errno.EACCES)
    with pytest.raises(ListenError, match=r"permission denied$"):
        open_sockets([], 0)


def test_the_way_out_leads_to_what_is_at_fault() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        taken = Endpoint(["127.0.0.1"], port, "chosen by --listen-port").problem()
    assert taken.endswith(
        "the port is in use; it was chosen by --listen-port: choose another with --listen-port"
    )
    elsewhere = Endpoint(["192.0.2.1"], port, "chosen by --listen-port").problem()
    assert elsewhere.endswith(
        "the address is not one of this machine; name another address with --listen-host"
    )
    assert not Endpoint(["127.0.0.1"], port, "chosen by --listen-port").problem(), "it is let go of"
