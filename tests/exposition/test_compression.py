import gzip
import random
import zlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.exposition import compression
from exporter.exposition.compression import Encoder
from exporter.exposition.negotiation import Encoding

chunks = st.binary(max_size=300) | st.integers(0, 100_000).map(lambda size: b"sample 1.0\n" * (size // 11))


def gzipped(encoder: Encoder, first: Sequence[bytes], rest: bytes) -> bytes:
    (body,) = encoder.encode(Encoding.GZIP, first, rest)
    return body


@given(first=st.lists(chunks, max_size=4), rests=st.lists(chunks, min_size=1, max_size=4))
def test_what_goes_in_comes_out(first: list[bytes], rests: list[bytes]) -> None:
    encoder = Encoder()
    for rest in rests:
        body = gzipped(encoder, first, rest)
        assert gzip.decompress(body) == b"".join(first) + rest
        decoder = zlib.decompressobj(16 + zlib.MAX_WBITS)
        assert decoder.decompress(body) + decoder.flush() == b"".join(first) + rest
        assert decoder.eof
        assert decoder.unused_data == b""  # one member, as some readers take no more


def test_another_first_part() -> None:
    encoder = Encoder()
    for first in ([b"one" * 1000], [b"two", b"two" * 1000], [], [b"one"] * 1000):
        assert gzip.decompress(gzipped(encoder, first, b"rest")) == b"".join(first) + b"rest"


def test_an_equal_first_part_is_not_compressed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[Sequence[bytes]] = []
    run = compression._run

    def noted(chunks: Sequence[bytes]) -> tuple[bytes, int, int]:
        runs.append(chunks)
        return run(chunks)

    monkeypatch.setattr(compression, "_run", noted)
    encoder = Encoder()
    for first in ([b"first" * 100], [b"second"] * 1000):
        for rest in (b"a", b"bb", b"ccc"):
            assert gzip.decompress(gzipped(encoder, first, rest)) == b"".join(first) + rest
    assert [len(chunks) for chunks in runs] == [1, 1000]


def test_it_is_smaller_and_the_same_each_time() -> None:
    text = [b'sglang:metric{rank="%d"} %d.0\n' % (number % 8, number) for number in range(10_000)]
    body = gzipped(Encoder(), text, b"rest")
    assert len(body) < sum(map(len, text)) / 4
    assert gzipped(Encoder(), text, b"rest") == body  # no time, no name


def test_what_cannot_be_compressed() -> None:
    noise = random.Random(1).randbytes(200_000)  # noqa: S311 - to be repeatable is the point
    assert gzip.decompress(gzipped(Encoder(), [noise], noise)) == noise * 2


def test_identity_is_the_chunks_as_they_are() -> None:
    assert Encoder().encode(Encoding.IDENTITY, [b"one", b"two"], b"rest") == [b"one", b"two", b"rest"]
