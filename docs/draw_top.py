"""Draw what `smg-exporter top` shows as a picture: any /metrics of engines -> a PNG.

    make draw-top ARGS="docs/top.png http://localhost:18001"

For the documents only: it reads for two minutes, then draws one worker, or all where there are several.
"""

import asyncio
import ssl
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from exporter.addresses import metrics_url
from exporter.scraping.client import make_session, scrape
from exporter.top.board import Board
from exporter.top.poll import INTERVAL, MAX_BYTES, Source
from exporter.top.texts import Line

SECONDS = 120
WINDOW = 5.0
SIZE = 100, 27
"""Characters of the terminal."""
FONT_SIZE = 26
PAPER, INK = "#14161b", "#d8d9da"
COLORS = {"dim": "#8b9098", "good": "#73bf69", "bad": "#f2495c", "chart": "#5bc8d8"}
BOLD = {"title", "chosen", "bad"}
LOWER, LEFT = "▁▂▃▄▅▆▇█", "▏▎▍▌▋▊▉█"
"""Blocks that fill so many eighths of a character, from below or from the left."""


async def watch(urls: Sequence[str]) -> Board:
    """Return the board as it is after `SECONDS` of reading."""
    async with make_session(ssl.create_default_context()) as session:
        get = partial(scrape, session, limit=MAX_BYTES)
        sources = [Source(metrics_url(url), url, get, window=WINDOW) for url in urls]
        reading = [asyncio.create_task(source.keep_reading(INTERVAL)) for source in sources]
        await asyncio.sleep(SECONDS)
        for task in reading:
            task.cancel()
    board = Board(WINDOW)
    board.resize(*SIZE)
    board.take([*chain.from_iterable(source.views for source in sources)])
    return board


def font(weight: str) -> ImageFont.FreeTypeFont:
    """Return a font of which every character is as wide."""
    properties = font_manager.FontProperties(family="DejaVu Sans Mono", weight=weight)
    return ImageFont.truetype(font_manager.findfont(properties), FONT_SIZE)


def draw(lines: Sequence[Line]) -> Image.Image:
    """Return the lines as a terminal shows them."""
    plain, bold = font("normal"), font("bold")
    width, height = round(plain.getlength("M")), round(FONT_SIZE * 1.25)
    margin = width
    image = Image.new("RGB", (SIZE[0] * width + 2 * margin, SIZE[1] * height + 2 * margin), PAPER)
    pen = ImageDraw.Draw(image)
    for row, line in enumerate(lines):
        for column, character, style in characters(line):
            x, y = margin + column * width, margin + row * height
            ink = COLORS.get(style, INK)
            if style == "key":
                pen.rectangle((x, y, x + width, y + height), fill=INK)
                ink = PAPER
            if character in LOWER and style == "chart":
                filled = height * (LOWER.index(character) + 1) // 8
                pen.rectangle((x, y + height - filled, x + width - 1, y + height - 1), fill=ink)
            elif character in LEFT:
                filled = width * (LEFT.index(character) + 1) // 8
                pen.rectangle((x, y + 3, x + filled - 1, y + height - 4), fill=ink)
            else:
                pen.text((x, y), character, fill=ink, font=bold if style in BOLD else plain)
    return image


def characters(line: Line) -> Iterator[tuple[int, str, str]]:
    """Yield column, character and style of everything but spaces; the spaces of keys are seen."""
    column = 0
    for text, style in line:
        for character in text:
            if character != " " or style == "key":
                yield column, character, style
            column += 1


def main() -> None:
    """Draw the picture that the arguments name."""
    path, *urls = sys.argv[1:]
    board = asyncio.run(watch(urls))
    draw(board.lines()).quantize(64).save(Path(path), optimize=True)
    print(f"{path}: {Path(path).stat().st_size >> 10} KiB")


if __name__ == "__main__":
    main()
