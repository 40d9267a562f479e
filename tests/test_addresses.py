import pytest

from exporter.addresses import (
    AddressError,
    bare_host,
    derived_metrics_port,
    host_port,
    is_ambiguous,
    port_of,
    worker_address,
)


@pytest.mark.parametrize(
    ("grpc_port", "metrics_port"),
    [
        (1, 10001),
        (8001, 18001),
        (50051, 60051),
        (55535, 65535),
        (55536, 45536),
        (60051, 50051),
        (65535, 55535),
    ],
)
def test_metrics_port_is_derived(grpc_port: int, metrics_port: int) -> None:
    assert derived_metrics_port(grpc_port) == metrics_port


@pytest.mark.parametrize("port", [0, -1, 65536, 100_000])
def test_a_number_that_is_no_port_is_refused(port: int) -> None:
    for refuse in (
        derived_metrics_port,
        lambda port: host_port("h", port),
        lambda port: worker_address("h", port),
    ):
        with pytest.raises(AddressError, match=f"^{port} is not a port from 1 to 65535$"):
            refuse(port)


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "grpc://127.0.0.1:8001"),
        ("gpu-7.example", "grpc://gpu-7.example:8001"),
        ("::1", "grpc://[::1]:8001"),
        ("[::1]", "grpc://[::1]:8001"),
        ("::", "grpc://[::]:8001"),
        ("fe80::1%eth0", "grpc://[fe80::1%eth0]:8001"),
    ],
)
def test_hosts_are_bracketed_where_they_are_ipv6(host: str, address: str) -> None:
    assert worker_address(host, 8001) == address
    assert host_port(host, 8001) == address.removeprefix("grpc://")


@pytest.mark.parametrize(
    "host", ["", "a b", "h:1", "http://h", "[h]", "[]", "[::1", "::1]", ":::", "a/b", "-h", "h\n", "h" * 254]
)
def test_a_text_that_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(AddressError) as caught:
        bare_host(host)
    assert str(caught.value) == f"{host!r} is not a host name or IP address"


@pytest.mark.parametrize(
    ("address", "ambiguous"),
    [
        ("grpc://127.0.0.1:8001", True),
        ("grpcs://127.1.2.3:8001", True),
        ("http://LocalHost", True),
        ("grpc://[::1]:8001", True),
        ("grpc://10.0.0.1:8001", False),
        ("grpc://worker:8001", False),
        ("grpc://0.0.0.0:8001", False),
        ("rank 7 of localhost", False),
        ("", False),
    ],
)
def test_an_address_is_ambiguous_where_each_machine_has_a_worker_of_its_own_there(
    address: str,
    ambiguous: bool,  # noqa: FBT001 - a table's column
) -> None:
    assert is_ambiguous(address) == ambiguous


@pytest.mark.parametrize(
    ("url", "port"), [("http://h:81/x", 81), ("http://h", 80), ("https://[::1]/metrics", 443)]
)
def test_a_url_without_a_port_has_that_of_its_scheme(url: str, port: int) -> None:
    assert port_of(url) == port
