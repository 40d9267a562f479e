"""The fleet's own metrics: what is there from the start, and that they are told while others count on."""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from itertools import count

import pytest

from exporter.fleet.fanout import Fanout
from exporter.fleet.sources import Discovery
from exporter.fleet.telemetry import Telemetry, target_metrics
from exporter.scraping.admission import LEFT_OUT
from exporter.scraping.client import REASONS, scrape
from tests.support.compare import told


@pytest.fixture
def fanout() -> Iterator[Fanout]:
    made = Fanout(
        lambda: (),
        partial(scrape, None, limit=0),  # type: ignore[arg-type]
        target_metrics,
        labels={},
        target_timeout=1.0,
        max_target_bytes=0,
        no_target=lambda: "no target",
        observe=lambda _: None,
    )
    with closing(made):
        yield made


def test_every_reason_and_code_is_there_from_the_start(fanout: Fanout) -> None:
    own = told(Telemetry(Discovery([], []), fanout).registry.tell())
    for name, label, values in (
        ("target_failures", "reason", REASONS),
        ("left_out", "reason", LEFT_OUT),
        ("scrapes", "code", ("200", "499", "500", "503")),
    ):
        assert {labels[label] for labels in own.labels(f"smg_exporter_{name}_total")} == set(values)
        assert not any(own.values(f"smg_exporter_{name}_total"))


def test_what_is_counted_meanwhile_is_no_trouble(fanout: Fanout) -> None:
    telemetry = Telemetry(Discovery([], []), fanout)
    others = count(1000)

    class Code(int):
        """A code while whose metric is written another one is counted, as in another thread."""

        def __str__(self) -> str:
            telemetry.count_scrape(next(others))
            return super().__str__()

    class Reason(str):
        """The same of a reason."""

        __slots__ = ("counts",)
        counts: Counter[str]

        def __str__(self) -> str:
            self.counts[f"another {next(others)}"] += 1
            return super().__str__()

    telemetry.count_scrape(Code(418))
    for counts in (fanout.failures, fanout.left_out):
        reason = Reason("one")
        reason.counts = counts
        counts[reason] += 1
    own = told(telemetry.registry.tell())
    assert own.value("smg_exporter_scrapes_total", code="418") == 1
    assert next(others) == 1003, "each was counted once while metrics were written"
