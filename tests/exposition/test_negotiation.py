"""Accept and Accept-Encoding -> the representation, for real scrapers' headers and odd ones."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.exposition.negotiation import Encoding, Escaping, Representation, negotiate
from exporter.model import Format

TEXT = "text/plain; version=0.0.4; charset=utf-8"
TEXT_1 = "text/plain; version=1.0.0; charset=utf-8; escaping="
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

PROMETHEUS_2_42 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_2_53 = (
    "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROTOBUF = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
PROMETHEUS_3_NATIVE_HISTOGRAMS = f"{PROTOBUF};q=0.7,{PROMETHEUS_3}"
PROMETHEUS_3_0 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5;escaping=allow-utf-8,"
    "application/openmetrics-text;version=0.0.1;q=0.4;escaping=allow-utf-8,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3;escaping=allow-utf-8,"
    "text/plain;version=0.0.4;q=0.2;escaping=allow-utf-8,*/*;q=0.1;escaping=allow-utf-8"
)
VMAGENT = "text/plain;version=0.0.4;q=1,*/*;q=0.1"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        # What scrapers and people send.
        (PROMETHEUS_2_42, OPENMETRICS),
        (PROMETHEUS_2_53, OPENMETRICS),
        (PROMETHEUS_3, OPENMETRICS + "; escaping=allow-utf-8"),
        (PROMETHEUS_3_NATIVE_HISTOGRAMS, OPENMETRICS + "; escaping=allow-utf-8"),
        (PROMETHEUS_3_0, OPENMETRICS + "; escaping=allow-utf-8"),
        (VMAGENT, TEXT),
        (BROWSER, TEXT),
        ("*/*", TEXT),
        # Nothing said, nothing understood, nothing we have.
        (None, TEXT),
        ("", TEXT),
        (" , ;, ;;q=,", TEXT),
        ("application/json", TEXT),
        (PROTOBUF, TEXT),
        ("application/openmetrics-text;version=0.0.1", TEXT),
        ("text/plain;version=2.0.0", TEXT),
        ("text/plain;q=0", TEXT),
        ("*/*;q=0", TEXT),
        ("application/*", TEXT),
        # Versions.
        ("text/plain", TEXT),
        ("text/*", TEXT),
        ("text/plain;version=0.0.4;escaping=allow-utf-8", TEXT),
        ("text/plain;version=1.0.0", TEXT_1 + "underscores"),
        ("application/openmetrics-text", OPENMETRICS),
        ("text/plain;version=2.0.0,application/openmetrics-text;q=0.1", OPENMETRICS),
        # Escaping.
        ("text/plain;version=1.0.0;escaping=allow-utf-8", TEXT_1 + "allow-utf-8"),
        ("text/plain;version=1.0.0;escaping=dots", TEXT_1 + "dots"),
        ("text/plain;version=1.0.0;escaping=values", TEXT_1 + "values"),
        ("text/plain;version=1.0.0;escaping=underscores", TEXT_1 + "underscores"),
        ("text/plain;version=1.0.0;escaping=rot13", TEXT_1 + "underscores"),
        ("application/openmetrics-text;escaping=underscores", OPENMETRICS + "; escaping=underscores"),
        ("application/openmetrics-text;escaping=dots", OPENMETRICS + "; escaping=dots"),
        ("application/openmetrics-text;escaping=rot13", OPENMETRICS),
        # Weights.
        ("application/openmetrics-text;q=0.3,text/plain;q=0.4", TEXT),
        ("text/plain;q=0.3,application/openmetrics-text;q=0.301", OPENMETRICS),
        ("text/plain;version=1.0.0;q=.5,text/plain;q=0.4", TEXT_1 + "underscores"),
        ("application/openmetrics-text;q=0,text/plain;version=1.0.0;q=0.1", TEXT_1 + "underscores"),
        ("application/openmetrics-text;q=0,*/*", TEXT),
        ("application/openmetrics-text;q=2,text/plain;q=0.1", TEXT),
        ("application/openmetrics-text;q=-1,text/plain;q=0.1", TEXT),
        ("application/openmetrics-text;q=nan,text/plain;q=0.1", TEXT),
        ("application/openmetrics-text;q=,text/plain;q=0.1", TEXT),
        ("application/openmetrics-text;q=1.000,text/plain;q=0.999", OPENMETRICS),
        # A more specific entry decides for what it names, wherever it stands.
        ("*/*;q=0.9,text/plain;q=0.1,application/openmetrics-text;q=0.5", OPENMETRICS),
        ("text/*;q=0.9,application/openmetrics-text;q=0.5,*/*;q=0.1", TEXT),
        ("*/*;q=0.9,text/*;q=0.1,application/openmetrics-text;q=0.5", OPENMETRICS),
        ("text/plain;q=0.9,text/plain;version=0.0.4;q=0.1,application/openmetrics-text;q=0.5", OPENMETRICS),
        # Ties: a named type before a wildcard, then the order of the header.
        ("*/*,application/openmetrics-text", OPENMETRICS),
        ("text/*,application/openmetrics-text", OPENMETRICS),
        ("text/plain;version=0.0.4,application/openmetrics-text;version=1.0.0", TEXT),
        ("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4", OPENMETRICS),
        ("application/openmetrics-text,text/plain;version=0.0.4", OPENMETRICS),
        ("text/plain,application/openmetrics-text;version=1.0.0", TEXT),
        # Spelling.
        ("APPLICATION/OpenMetrics-Text ; VERSION = 1.0.0 ; Q=0.5", OPENMETRICS),
        ('application/openmetrics-text;version="1.0.0";escaping="dots"', OPENMETRICS + "; escaping=dots"),
        ("application/openmetrics-text;charset=utf-8;foo=bar", OPENMETRICS),
        ('foo/bar;x="a,application/openmetrics-text,b"', TEXT),
        (r'foo/bar;x="a\",application/openmetrics-text,b",text/plain;version=1.0.0', TEXT_1 + "underscores"),
        ('foo/bar;x="never closed,application/openmetrics-text', TEXT),
    ],
)
def test_content_type(accept: str | None, content_type: str) -> None:
    assert negotiate(accept, None).content_type == content_type


@pytest.mark.parametrize(
    ("accept_encoding", "encoding"),
    [
        (None, Encoding.IDENTITY),
        ("", Encoding.IDENTITY),
        ("identity", Encoding.IDENTITY),
        ("br, zstd, deflate", Encoding.IDENTITY),
        ("gzip", Encoding.GZIP),
        ("GZip", Encoding.GZIP),
        ("x-gzip", Encoding.GZIP),
        ("gzip, deflate, br", Encoding.GZIP),
        ("br;q=1, gzip;q=0.1", Encoding.GZIP),
        ("*", Encoding.GZIP),
        ("*;q=0.1", Encoding.GZIP),
        ("*;q=0", Encoding.IDENTITY),
        ("gzip;q=0", Encoding.IDENTITY),
        ("x-gzip;q=0.000", Encoding.IDENTITY),
        ("gzip;q=0, *", Encoding.IDENTITY),
        ("*;q=0, gzip", Encoding.GZIP),
        ("identity;q=0, gzip", Encoding.GZIP),
        ("identity;q=0, gzip;q=0.1", Encoding.GZIP),
        ("identity;q=0.5, gzip;q=0.5", Encoding.GZIP),
        ("identity;q=1, gzip;q=0.5", Encoding.IDENTITY),
        ("gzip;q=ten", Encoding.IDENTITY),
        ("gzip;q", Encoding.IDENTITY),
    ],
)
def test_encoding(accept_encoding: str | None, encoding: Encoding) -> None:
    assert negotiate(None, accept_encoding).encoding is encoding


def test_representations_that_differ_in_nothing_but_the_named_default_share_a_body() -> None:
    named = negotiate("application/openmetrics-text;escaping=underscores", None)
    unnamed = negotiate("application/openmetrics-text", None)
    assert (
        named == unnamed == Representation(Format.OPENMETRICS_1_0_0, Escaping.UNDERSCORES, Encoding.IDENTITY)
    )
    assert hash(named) == hash(unnamed)
    assert named.content_type != unnamed.content_type


_PIECES = st.sampled_from(
    [
        *(
            "text/plain",
            "application/openmetrics-text",
            "*/*",
            "text/*",
            "*",
            "/",
            "gzip",
            "x-gzip",
            "identity",
        ),
        *(
            ";",
            ",",
            "=",
            '"',
            "\\",
            " ",
            ";q=",
            "q",
            "version",
            "escaping",
            "0",
            "1",
            "0.5",
            "1.0.0",
            "0.0.4",
        ),
        *("allow-utf-8", "dots", "\x00", "é", "\ud800", "٣"),
    ]
)
_HEADERS = st.none() | st.text() | st.lists(_PIECES).map("".join)


@given(_HEADERS, _HEADERS)
def test_any_header_gets_an_offer(accept: str | None, accept_encoding: str | None) -> None:
    wanted = negotiate(accept, accept_encoding)
    assert isinstance(wanted, Representation)
    assert wanted.content_type.startswith(
        ("text/plain; version=", "application/openmetrics-text; version=1.0.0")
    )


@pytest.mark.parametrize("piece", [",", ";", '"', "\\", '"\\', '",', "text/plain;q=0,", "a;b=", ' "'])
def test_long_headers_cost_linear_time(piece: str) -> None:
    header = (piece * 200_000)[:200_000]
    started = time.perf_counter()
    negotiate(header, header)
    assert time.perf_counter() - started < 5, "200 kB take milliseconds where parsing is linear, else minutes"
