import sys

import pytest

from exporter.discovery import parsing
from exporter.discovery.parsing import Socket, Stat, Status

SLEEPING = b"4711 (a) (odd) R 1) S 12 11 11 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 8088 1000 20"
TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F41 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 5001 1 0 100 0 0 10 0
   1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 5002 1 0 100 0 0 10 0
   2: 0100007F:1F41 0100007F:9999 01 00000000:00000000 00:00000000 00000000  1000        0 5003 1 0 100 0 0 10 0
this line is never read: it is no line of the table
"""
TCP6 = """\
  sl  local_address                         remote_address                        st tx_queue rx_queue
   0: 0000000000000000FFFF00000100007F:1F42 00000000000000000000000000000000:0000 0A 0:0 00:0 0 7 0 6001 1
   1: 00000000000000000000000001000000:1F43 00000000000000000000000000000000:0000 0A 0:0 00:0 0 7 0 6002 1
"""
FIB_TRIE = """\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
Local:
     |-- 127.0.0.1
        /32 host LOCAL
     |-- 169.254.3.4
        /32 host LOCAL
     |-- 10.1.2.3
        /32 host LOCAL
     |-- 10.1.2.255
        /32 link BROADCAST
"""
IF_INET6 = """\
00000000000000000000000000000001 01 80 10 80       lo
fe800000000000000000000000000001 02 40 20 80     eth0
20010db8000000000000000000000007 02 40 00 80     eth0
"""


def test_a_process_s_name_may_hold_what_the_format_is_made_of() -> None:
    assert parsing.stat(SLEEPING) == Stat(parent=12, group=11, start_ticks=8088, name=b"a) (odd) R 1")


@pytest.mark.parametrize(
    "text", [SLEEPING.replace(b" S ", b" Z "), SLEEPING.replace(b"4194304", str(0x200000).encode())]
)
def test_zombies_and_kernel_threads_are_no_processes(text: bytes) -> None:
    assert parsing.stat(text) is None


def test_status_tells_user_capabilities_and_the_pid_in_each_namespace() -> None:
    text = b"Name:\tx\nPid:\t4711\nUid:\t7\t1000\t7\t7\nCapPrm:\t0000000000080000\nNSpid:\t4711\t21\t1\n"
    assert parsing.status(text) == Status(1000, 1 << 19, (4711, 21, 1))


def test_status_of_a_kernel_without_namespaces() -> None:
    assert parsing.status(b"Name:\tsh\nPid:\t5\nUid:\t7\t7\t7\t7\nCapPrm:\t0\n").pids == (5,)


def test_words_keep_empty_ones_and_odd_bytes() -> None:
    assert parsing.words(b"a\0\0b\xff\0") == ("a", "", "b\udcff")
    assert parsing.words(b"") == ()


def test_a_variable_is_found_by_its_whole_name() -> None:
    environment = b"XPROMETHEUS_MULTIPROC_DIR=/no\0PROMETHEUS_MULTIPROC_DIR=/tmp/a=b\0Z=1\0"
    assert parsing.variable(environment, b"PROMETHEUS_MULTIPROC_DIR") == "/tmp/a=b"  # noqa: S108 - a text
    assert not parsing.variable(environment, b"HOME")


def test_only_metrics_files_that_are_mapped_to_be_written_count() -> None:
    lines = [
        b"7f0-7f1 rw-s 00000000 00:21 5  /a dir/counter_7.db\n",
        b"7f0-7f1 rw-s 00000000 00:21 5  /gone/gauge_livesum_7.db (deleted)\n",
        b"7f0-7f1 r--s 00000000 00:21 5  /read/counter_7.db\n",
        b"7f0-7f1 rw-s 00000000 00:21 5  /other/cache.db\n",
        b"7f0-7f1 rw-s 00000000 00:21 5  /counter_7.db\n",
        b"7f0-7f1 rw-p 00000000 00:00 0 \n",
    ]
    existing, deleted = parsing.mapped(lines)
    assert existing == {"/a dir", "/"}
    assert deleted == {"/gone"}


@pytest.mark.skipif(
    sys.byteorder == "big", reason="the tables are written down as a little-endian kernel has them"
)
def test_listeners_are_read_up_to_the_first_connection() -> None:
    assert dict(parsing.listeners(TCP.splitlines())) == {
        5001: Socket("127.0.0.1", 8001, 1000),
        5002: Socket("0.0.0.0", 22, 0),
    }


@pytest.mark.skipif(sys.byteorder == "big", reason="as above")
def test_an_ipv4_address_within_ipv6_is_an_ipv4_address() -> None:
    assert dict(parsing.listeners(TCP6.splitlines())) == {
        6001: Socket("127.0.0.1", 8002, 7),
        6002: Socket("::1", 8003, 7),
    }


def test_addresses_that_others_may_reach() -> None:
    assert list(parsing.local_addresses(FIB_TRIE)) == ["10.1.2.3"]
    assert list(parsing.global_addresses6(IF_INET6)) == ["2001:db8::7"]


@pytest.mark.parametrize(
    "cgroup",
    [
        f"0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{'5d' * 32}.scope\n",
        f"12:cpu:/docker/{'00' * 32}/x\n11:memory:/docker/{'5d' * 32}\n",
    ],
)
def test_a_container_is_known_by_its_64_digits(cgroup: str) -> None:
    assert parsing.container_id(cgroup) == "5d" * 32


def test_a_process_outside_of_containers_has_no_container_id() -> None:
    assert not parsing.container_id(f"0::/user.slice/{'5d' * 33}\n")


def test_options_of_a_command_line_and_of_a_shells_script() -> None:
    command = ["sh", "-c", "exec serve --port 8001 --grpc --host=::1 -m x"]
    assert parsing.options(command) == {
        "-c": "exec",
        "--port": "8001",
        "--grpc": "",
        "--host": "::1",
        "-m": "x",
    }


def test_of_a_command_line_only_the_beginning_is_kept() -> None:
    assert parsing.words(b"a\0" * 5000) == ("a",) * 1024
    assert parsing.words(b"x" * 1_000_000) == ("x" * 16384,)
