"""Quotes, backslashes, line ends and all of Unicode in label values and help texts."""

from pathlib import Path

from prometheus_client import Counter

from tests.support.files import process


def write(directory: Path) -> None:
    with process(directory, 11) as registry:
        counter = Counter("texts", 'Say "hi", \\, and\na new line: ü.', ["text"], registry=registry)
        for text in (
            "",
            'say "hi"',
            "back\\slash",
            "two\nlines",
            "\\n",
            "ü 漢字 😀",
            '{a="b"} 1 # no',
            "100%s",
        ):
            counter.labels(text).inc()
