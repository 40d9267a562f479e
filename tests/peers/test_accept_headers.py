"""The Accept headers that scrapers are known to send, at the daemon of a recorded worker."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemon import Daemon, daemon

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
OPENMETRICS_UTF_8 = f"{OPENMETRICS}; escaping=allow-utf-8"
TEXT_1_UTF_8 = "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8"

_PROTOBUF = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"

SCRAPERS = {
    "Prometheus 2.42": (
        (
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
            "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
        ),
        OPENMETRICS,
    ),
    "Prometheus 2.53": (
        (
            "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
            "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
        ),
        OPENMETRICS,
    ),
    "Prometheus 3.0": (
        (
            "application/openmetrics-text;version=1.0.0;q=0.5;escaping=allow-utf-8,"
            "application/openmetrics-text;version=0.0.1;q=0.4;escaping=allow-utf-8,"
            "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3;escaping=allow-utf-8,"
            "text/plain;version=0.0.4;q=0.2;escaping=allow-utf-8,*/*;q=0.1;escaping=allow-utf-8"
        ),
        OPENMETRICS_UTF_8,
    ),
    "Prometheus 3.5 to 3.14": (
        (
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
            "application/openmetrics-text;version=0.0.1;q=0.5,"
            "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
        ),
        OPENMETRICS_UTF_8,
    ),
    "Prometheus 3.5 with native histograms": (
        (
            f"{_PROTOBUF};q=0.7,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
            "application/openmetrics-text;version=0.0.1;q=0.5,"
            "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
        ),
        OPENMETRICS_UTF_8,
    ),
    "Prometheus 3 that prefers text": (
        (
            "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.6,"
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,*/*;q=0.2"
        ),
        TEXT_1_UTF_8,
    ),
    "vmagent 1.79": ("text/plain;version=0.0.4;q=1,*/*;q=0.1", TEXT),
    "curl": ("*/*", TEXT),
}


@pytest.fixture(scope="module", name="exporter")
def _exporter(recorded: dict[str, Path]) -> Iterator[Daemon]:
    with daemon(recorded["tp1"], "--liveness=off") as it:
        yield it


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
@pytest.mark.parametrize("scraper", SCRAPERS)
def test_a_scraper_gets_what_it_asks_for(exporter: Daemon, scraper: str, encoding: str) -> None:
    accept, content_type = SCRAPERS[scraper]
    answer = exporter.get(
        "/metrics",
        {
            "Accept": accept,
            "Accept-Encoding": encoding,
            "X-Prometheus-Scrape-Timeout-Seconds": "10.000",
            "User-Agent": scraper,
        },
    )
    assert answer.headers["Content-Type"] == content_type
    assert answer.headers.get("Content-Encoding") == ("gzip" if encoding == "gzip" else None)
    assert answer.headers["Vary"] == "Accept, Accept-Encoding"
    exposition = answer.exposition
    exposition.check()
    worker = [sample for sample in exposition.samples if sample.name.startswith("sglang:")]
    assert len(worker) == 1075
    assert not [name for name in exposition.names if name.startswith("sglang_")]
    assert answer.text.endswith("# EOF\n") == content_type.startswith("application/openmetrics-text")
