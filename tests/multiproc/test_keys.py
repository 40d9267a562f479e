import math

import pytest

from exporter.multiproc.faults import BadKeyError
from exporter.multiproc.keys import SUM, read_key
from tests.support.files import HELP, bucket, counter, gauge, sample_key, total

INF = math.inf


def refused(key: bytes | str, metric_type: str = "counter") -> str:
    """Return why a key is refused, in one word."""
    with pytest.raises(BadKeyError) as caught:
        read_key(key.encode() if isinstance(key, str) else key, metric_type)
    assert "\n" not in str(caught.value)
    assert caught.value.fault.text == str(caught.value)
    return caught.value.fault.reason


def test_what_a_key_means() -> None:
    key = b'["a:b", "a:b_total", {"x": "\\u00fc", "y": ""}, "Help."]'
    assert read_key(key, "counter") == ("a:b", "Help.", "a:b_total", {"x": "ü", "y": ""}, 0.0)


@pytest.mark.parametrize(
    ("metric_type", "key", "sample", "column"),
    [
        ("counter", counter("a:b"), "a:b_total", 0.0),
        ("gauge", gauge("a"), "a", 0.0),
        ("gauge", gauge("a_total"), "a_total", 0.0),
        ("summary", total("a"), "a_sum", 0.0),
        ("summary", sample_key("a", "a_count", {}), "a_count", 0.0),
        ("histogram", total("a"), "a", SUM),
        ("histogram", bucket("a", "0.5"), "a", 0.5),
        ("histogram", bucket("a", "+Inf"), "a", INF),
        ("histogram", bucket("a", "-1"), "a", -1.0),
    ],
)
def test_where_an_entry_belongs(metric_type: str, key: str, sample: str, column: float) -> None:
    assert read_key(key.encode(), metric_type) == (key.split('"')[1], HELP, sample, {}, column)


def test_the_bound_is_no_label_of_a_histograms_series() -> None:
    assert read_key(bucket("a", "1.0", x="y").encode(), "histogram").labels == {"x": "y"}


@pytest.mark.parametrize(
    ("metric_type", "key"),
    [
        ("counter", sample_key("a", "a", {})),
        ("counter", sample_key("a", "b_total", {})),
        ("counter", sample_key("a", "a_created", {})),
        ("gauge", sample_key("a", "a_total", {})),
        ("summary", sample_key("a", "a", {"quantile": "0.5"})),
        ("histogram", sample_key("a", "a_count", {})),
        ("histogram", sample_key("a", "a_bucket", {})),
        ("histogram", bucket("a", "")),
        ("histogram", bucket("a", "high")),
        ("histogram", bucket("a", "nan")),
        ("histogram", bucket("a", "-Inf")),
    ],
)
def test_samples_of_the_wrong_shape(metric_type: str, key: str) -> None:
    assert refused(key, metric_type) == "bad_key"


@pytest.mark.parametrize(
    "key",
    [
        b"\xff\xfe",
        b"no json",
        b"",
        b"null",
        b"3",
        b'"text"',
        b"{}",
        b"[]",
        b'["a", "a", {}]',
        b'["a", "a", {}, "h", 1]',
        b'["a", "a", [], "h"]',
        b'["a", "a", null, "h"]',
        b'["a", "a", "x", "h"]',
        b'["a", 1, {}, "h"]',
        b'[null, "a", {}, "h"]',
        b'["a", "a", {}, null]',
        b'["a", "a", {"x": 1}, "h"]',
        b'["a", "a", {"x": {}}, "h"]',
        b'["", "", {}, "h"]',
        b'["a", "", {}, "h"]',
        b'["a", "a", {"": "x"}, "h"]',
        b'["a", "a", {"x": "\\ud800"}, "h"]',
        b"[" * 100_000,
    ],
)
def test_keys_of_the_wrong_form(key: bytes) -> None:
    assert refused(key) == "bad_key"
