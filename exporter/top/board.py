"""What the terminal shows, and what keys change of it."""

import time
from collections.abc import Sequence
from textwrap import wrap

from exporter import PROGRAM
from exporter.top.detail import detail
from exporter.top.overview import LEGEND, NAME, Order, fitting, table
from exporter.top.poll import Key, View, key
from exporter.top.texts import Line

_LIST_KEYS = (("↑↓", "choose"), ("enter", "open"), ("s", "sort"), ("r", "reverse"))
_WORKER_KEYS = (("↑↓", "scroll"), ("esc", "all workers"))
_KEYS = (("p", "pause"), ("q", "quit"))


class Board:
    """All workers as a table, or one of them in full; in `width` times `height` characters."""

    def __init__(self, window: float) -> None:
        """Tell that rates are those of the last `window` seconds."""
        self.is_paused = False
        self._window = window
        self._views: Sequence[View] = ()
        self._order = Order()
        self._chosen: Key | None = None
        self._is_open = False
        self._is_untouched = True
        """Whether no key has chosen between the table and one worker: a lone worker is opened."""
        self._first = 0
        """The number of the first line shown, of those that scroll."""
        self._width, self._height = 80, 24
        self._time = 0.0

    def take(self, views: Sequence[View]) -> None:
        """Show these views, unless the board is paused."""
        if self.is_paused:
            return
        self._views = self._order.sort(views)
        self._time = time.time()
        if self._chosen not in self._keys and self._views:
            self._chosen = self._keys[0]
        if self._is_untouched:
            self._is_open = len(views) == 1

    def resize(self, width: int, height: int) -> None:
        """Fit this size from now on."""
        self._width, self._height = width, height

    # --- Keys ---

    def move(self, lines: int) -> None:
        """Choose the worker so many lines further down; or scroll, where one worker is shown."""
        if self._is_open:
            self._first += lines
        elif self._views:
            place = min(max(self._place + lines, 0), len(self._views) - 1)
            self._chosen = self._keys[place]

    def open(self) -> None:
        """Show the chosen worker."""
        self._is_untouched = False
        self._is_open, self._first = bool(self._views), 0

    def close(self) -> None:
        """Show all workers."""
        self._is_untouched = False
        self._is_open, self._first = False, 0

    def sort(self) -> None:
        """Sort the table by the next column, figures from the greatest down, and choose its first worker."""
        _, shown = fitting((view["worker_addr"] for view in self._views), self._width)
        titles = [NAME, *(column.title for column in shown)]
        place = titles.index(self._order.title) if self._order.title in titles else -1
        title = titles[(place + 1) % len(titles)]
        self._set_order(Order(title, descending=title not in {NAME, "STATE"}))

    def reverse(self) -> None:
        """Turn the order of the table round, and choose its first worker."""
        self._set_order(self._order._replace(descending=not self._order.descending))

    def pause(self) -> None:
        """Show no news, or show them again."""
        self.is_paused = not self.is_paused

    def _set_order(self, order: Order) -> None:
        self._order = order
        self._views = order.sort(self._views)
        self._chosen = self._keys[0] if self._views else None

    # --- Lines ---

    @property
    def _keys(self) -> list[Key]:
        return [*map(key, self._views)]

    @property
    def _place(self) -> int:
        """The number of the chosen worker; 0 if there is none."""
        return self._keys.index(self._chosen) if self._chosen in self._keys else 0

    def lines(self) -> list[Line]:
        """Return as many lines as fit, the last one with the keys."""
        room = self._height - 3
        fixed, scrolled, chosen = self._worker(room) if self._is_open else self._table()
        room -= len(fixed)
        if chosen is not None:  # keep the chosen line in sight
            self._first = min(max(self._first, chosen - room + 1), chosen)
        self._first = max(min(self._first, len(scrolled) - room), 0)
        body = [*fixed, *scrolled[self._first : self._first + room]]
        left = self._height - 3 - len(body)
        legend = [] if self._is_open else self._legend()
        if len(legend) > left:
            legend = []
        filler: list[Line] = [[] for _ in range(left - len(legend))]
        return [self._head(), [], *body, *filler, *legend, self._bar()]

    def _worker(self, room: int) -> tuple[list[Line], list[Line], None]:
        return [], detail(self._views[self._place], self._width, room), None

    def _table(self) -> tuple[list[Line], list[Line], int | None]:
        if not self._views:
            return [], [[("reading ...", "dim")]], None
        titles, *rows = table(self._views, self._width, self._order, self._chosen)
        return [titles], rows, self._place

    def _head(self) -> Line:
        up = sum(view["up"] is True for view in self._views)
        count = len(self._views)
        told = f"{count} worker{'s' * (count != 1)}, {up} up"
        clock = time.strftime("%H:%M:%S", time.localtime(self._time)) if self._time else ""
        left = f"{PROGRAM} top   {told}   rates over {self._window:g} s"
        state = "PAUSED at " if self.is_paused else ""
        right = f"{state}{clock}"
        return [(left, "title"), (right.rjust(max(self._width - len(left), len(right) + 1)), "")]

    def _bar(self) -> Line:
        keys = (*(_WORKER_KEYS if self._is_open else _LIST_KEYS), *_KEYS)
        line: Line = []
        for name, meaning in keys:
            line += [(f" {name} ", "key"), (f" {meaning}  ", "")]
        return line

    def _legend(self) -> list[Line]:
        return [[], *([(text, "dim")] for text in wrap(LEGEND, self._width)), []]
