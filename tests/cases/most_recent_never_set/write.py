"""A `mostrecent` gauge is served once it was set, and 0 is a value; until then its family is empty."""

from pathlib import Path

from prometheus_client import Gauge

from tests.support.files import process


def write(directory: Path) -> None:
    for pid in (11, 12):
        with process(directory, pid) as registry:
            Gauge("never", "Never set.", registry=registry, multiprocess_mode="mostrecent")
            by_label = Gauge(
                "some", "Set for one.", ["model"], registry=registry, multiprocess_mode="livemostrecent"
            )
            by_label.labels("a").set(0)
            by_label.labels("b")
            Gauge(
                "unlabelled",
                "No label was used.",
                ["model"],
                registry=registry,
                multiprocess_mode="mostrecent",
            )
