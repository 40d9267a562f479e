"""A summary of two processes."""

from pathlib import Path

from prometheus_client import Summary

from tests.support.files import process


def write(directory: Path) -> None:
    for pid in (11, 12):
        with process(directory, pid) as registry:
            size = Summary("size", "Bytes.", ["kind"], registry=registry)
            size.labels("in").observe(0.1 * pid)
            size.labels("out").observe(pid)
            size.labels("out").observe(0.2)
