"""The board in a terminal, by Textual: drawn once a second, and whenever a key changes it."""

import asyncio
from collections.abc import Sequence
from itertools import chain
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.events import Resize
from textual.strip import Strip
from textual.widget import Widget

from exporter.top.board import Board
from exporter.top.poll import INTERVAL, Source
from exporter.top.texts import Line

_STYLES = {
    "": Style(),
    "title": Style(bold=True),
    "dim": Style(dim=True),
    "good": Style(color="green"),
    "bad": Style(color="red", bold=True),
    "chosen": Style(bold=True),
    "key": Style(reverse=True),
    "chart": Style(color="cyan"),
}


class _Lines(Widget):
    """Lines of text."""

    DEFAULT_CSS = "_Lines { height: 1fr; }"

    def __init__(self) -> None:
        super().__init__()
        self.lines: Sequence[Line] = ()

    def show(self, lines: Sequence[Line]) -> None:
        """Show these lines."""
        self.lines = lines
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """Return line `y` as the terminal shows it."""
        line = self.lines[y] if y < len(self.lines) else ()
        return Strip([Segment(text, _STYLES[style]) for text, style in line]).adjust_cell_length(
            self.size.width
        )


class Screen(App[None]):
    """Reads the sources while it runs, and shows what they say."""

    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "change('move', -1)"),
        Binding("down,j", "change('move', 1)"),
        Binding("pageup", "change('move', -10)"),
        Binding("pagedown", "change('move', 10)"),
        Binding("enter", "change('open')"),
        Binding("escape,backspace", "change('close')"),
        Binding("s", "change('sort')"),
        Binding("r", "change('reverse')"),
        Binding("p,space", "change('pause')"),
        Binding("q,ctrl+c", "quit", priority=True),
    ]

    def __init__(self, sources: Sequence[Source], window: float) -> None:
        """Show the workers of `sources`, whose rates are those of the last `window` seconds."""
        super().__init__(ansi_color=True)
        self.board = Board(window)
        self._sources = sources
        self._lines = _Lines()
        self._reading: list[asyncio.Task[None]] = []

    def compose(self) -> ComposeResult:
        """Yield the only widget."""
        yield self._lines

    async def on_mount(self) -> None:
        """Begin to read."""
        self._reading = [asyncio.create_task(source.keep_reading(INTERVAL)) for source in self._sources]
        self.set_interval(INTERVAL, self.draw)

    async def on_unmount(self) -> None:
        """End reading."""
        for task in self._reading:
            task.cancel()
        await asyncio.wait(self._reading)

    def on_resize(self, event: Resize) -> None:
        """Fit the terminal's size."""
        self.board.resize(event.size.width, event.size.height)
        self.draw()

    def draw(self) -> None:
        """Show the newest views."""
        self.board.take(list(chain.from_iterable(source.views for source in self._sources)))
        self._lines.show(self.board.lines())

    def action_change(self, method: str, *arguments: int) -> None:
        """Call a method of the board, and show what that changed."""
        getattr(self.board, method)(*arguments)
        self._lines.show(self.board.lines())
