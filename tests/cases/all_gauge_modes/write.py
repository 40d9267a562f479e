"""Each gauge mode over two processes: which value is served, and with which labels."""

from pathlib import Path

from prometheus_client import Gauge

from tests.support.files import Mode, process

MODES: tuple[Mode, ...] = (
    "all",
    "liveall",
    "max",
    "livemax",
    "min",
    "livemin",
    "mostrecent",
    "livemostrecent",
    "sum",
    "livesum",
)


def write(directory: Path) -> None:
    for pid in (11, 12):
        with process(directory, pid) as registry:
            for mode in MODES:
                gauge = Gauge(f"load_{mode}", f"Mode {mode}.", registry=registry, multiprocess_mode=mode)
                gauge.set(pid)
