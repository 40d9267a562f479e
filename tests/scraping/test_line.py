"""Single lines: labels, escapes and numbers as strict as Prometheus has them, whatever they hold."""

import pytest

from exporter.model import Format
from tests.support.merging import faults, merged


@pytest.mark.parametrize("name", ["sglang:x", "Capital", "max_running_requests_under_SLO", ":", "_"])
def test_names_stay_as_they_are(name: str) -> None:
    for format_ in Format:
        text = merged(f"# TYPE {name} gauge\n{name} 1\n".encode(), format_=format_)
        assert f'\n{name}{{worker_addr="grpc://w0:1"}} 1\n' in text


def test_a_workers_own_address_is_replaced_wherever_it_stands() -> None:
    body = b'a{worker_addr="x",z="1"} 1\na{b="2",worker_addr="y"} 2\na{worker_addr="z"} 3\n'
    assert merged(body).splitlines()[2:] == [
        'a{z="1",worker_addr="grpc://w0:1"} 1',
        'a{b="2",worker_addr="grpc://w0:1"} 2',
        'a{worker_addr="grpc://w0:1"} 3',
    ]


def test_a_label_that_we_add_stays_as_exported() -> None:
    body = b'a{cluster="own"} 1\nb{cluster="own",exported_cluster="older"} 2\nc 3\n'
    lines = merged(body, labels=[("cluster", "x")]).splitlines()
    assert [line for line in lines if line[0] != "#"] == [
        'a{cluster="x",exported_cluster="own",worker_addr="grpc://w0:1"} 1',
        'b{cluster="x",exported_cluster="older",exported_exported_cluster="own",worker_addr="grpc://w0:1"} 2',
        'c{cluster="x",worker_addr="grpc://w0:1"} 3',
    ]


@pytest.mark.parametrize(
    "value",
    [r"{", r"}", r"} 1", r",", r":", r"\"", r"\\", r"\n", "ü€𝄞", r"a=\"b\",c=\"d\"", "\t", "\r", "# HELP x"],
)
def test_label_values_survive_byte_for_byte(value: str) -> None:
    for body in (f'a{{x="{value}"}} 1\n', f'a{{x="{value}",worker_addr="me"}} 1\n'):
        assert f'\na{{x="{value}",worker_addr="grpc://w0:1"}} 1\n' in merged(body.encode())


def test_a_line_of_10_mb_survives() -> None:
    value = "x" * 10_000_000
    assert value in merged(f'a{{x="{value}"}} 1\n'.encode())


def test_blanks_where_the_format_allows_them_go() -> None:
    assert 'a{x="1",y="2",worker_addr="grpc://w0:1"} 3\n' in merged(b'a { x = "1" ,\ty="2", }   3  \n')


BROKEN = {
    "no value": b"bad",
    "no number": b"bad one",
    "underscore": b"bad 1_000",
    "hexadecimal": b"bad 0x1p3",
    "two numbers too many": b"bad 1 2 3",
    "exemplar": b'bad{x="1"} 1 # {trace="2"} 3',
    "open brace": b'bad{x="1" 1',
    "open quote": b'bad{x="1} 1',
    "no quote": b"bad{x=1} 1",
    "bad escape": b'bad{x="\\t"} 1',
    "label twice": b'bad{x="1",x="2"} 1',
    "bad label name": b'bad{1x="1"} 1',
    "UTF-8 name": b'{"bad",x="1"} 1',
    "bad UTF-8": b'bad{x="\xff"} 1',
    "carriage return": b"bad 1\r",
    "second type": b"# TYPE bad counter",
    "unknown type": b"# TYPE bad banana",
}


@pytest.mark.parametrize("line", BROKEN.values(), ids=BROKEN)
def test_a_broken_line_costs_its_family_and_no_other(line: bytes) -> None:
    body = (
        b'# TYPE good gauge\ngood 1\n# TYPE bad gauge\nbad{x="y"} 2\n%b\n# TYPE fine gauge\nfine 3\n' % line
    )
    text = merged(body, b"# TYPE bad gauge\nbad 4\n")
    assert 'good{worker_addr="grpc://w0:1"} 1\n' in text
    assert 'fine{worker_addr="grpc://w0:1"} 3\n' in text
    assert 'bad{worker_addr="grpc://w1:1"} 4\n' in text
    assert 'bad{x="y"' not in text
    assert faults(body) == {"broken_family": 1}


@pytest.mark.parametrize("part", [b"a", b" ", b",", b'a="', b"{", b"} 1", b"\\"], ids=bytes.decode)
def test_a_broken_line_takes_no_longer_than_its_length_asks_for(part: bytes) -> None:
    assert faults(b"bad{%bx} 1\ngood 1\n" % (part * 1_000_000)) == {"broken_family": 1}


def test_a_cut_off_line_costs_its_family() -> None:
    assert faults(b"good 1\nbad 12") == {"broken_family": 1}
