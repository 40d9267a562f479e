"""Line charts with logarithmic axes, as SVG that reads on light and dark pages."""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape

Points = Sequence[tuple[float, float]]

_WIDTH, _HEIGHT = 720, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 190, 40, 50
_COLOURS = ("#d62728", "#1f77b4", "#2ca02c", "#9467bd", "#ff7f0e")


class _Axis:
    """Maps values between the first and the last tick to positions, by their logarithms."""

    def __init__(self, ticks: Sequence[float], start: float, end: float) -> None:
        self.ticks = ticks
        self._low, self._high = math.log(ticks[0]), math.log(ticks[-1])
        self._start, self._end = start, end

    def __call__(self, value: float) -> float:
        share = (math.log(value) - self._low) / (self._high - self._low)
        return round(self._start + share * (self._end - self._start), 1)


def line_chart(title: str, x_label: str, y_label: str, lines: Mapping[str, Points]) -> str:
    """Return a chart of positive values; each x is a tick, each power of ten of y."""
    xs = sorted({x for points in lines.values() for x, _ in points})
    ys = [y for points in lines.values() for _, y in points]
    powers = range(math.floor(math.log10(min(ys))), math.ceil(math.log10(max(ys))) + 1)
    x_axis = _Axis(xs, _LEFT, _WIDTH - _RIGHT)
    y_axis = _Axis([10.0**power for power in powers], _HEIGHT - _BOTTOM, _TOP)
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif">',
            '<rect width="100%" height="100%" fill="white"/>',
            _text(middle, 22, title, size=15),
            _text(middle, _HEIGHT - 12, x_label),
            _text(18, _HEIGHT / 2, y_label, turned=True),
            *_grid(x_axis, y_axis),
            *_lines(x_axis, y_axis, lines),
            "</svg>\n",
        )
    )


def _grid(x_axis: _Axis, y_axis: _Axis) -> Iterable[str]:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    for x in x_axis.ticks:
        yield f'<path d="M{x_axis(x)} {_TOP}V{bottom}" stroke="#ddd"/>'
        yield _text(x_axis(x), bottom + 16, f"{x:,g}")
    for y in y_axis.ticks:
        yield f'<path d="M{_LEFT} {y_axis(y)}H{right}" stroke="#ddd"/>'
        yield _text(_LEFT - 8, y_axis(y) + 4, f"{y:,g}", anchor="end")


def _lines(x_axis: _Axis, y_axis: _Axis, lines: Mapping[str, Points]) -> Iterable[str]:
    for number, ((name, points), colour) in enumerate(zip(lines.items(), _COLOURS, strict=False)):
        places = [(x_axis(x), y_axis(y)) for x, y in points]
        path = " ".join(f"{x},{y}" for x, y in places)
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
        for x, y in places:
            yield f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>'
        height = _TOP + 14 + 20 * number
        yield f'<path d="M{_WIDTH - _RIGHT + 14} {height}h18" stroke="{colour}" stroke-width="2"/>'
        yield _text(_WIDTH - _RIGHT + 38, height + 4, name, anchor="start")


def _text(
    x: float, y: float, text: str, *, anchor: str = "middle", size: int = 12, turned: bool = False
) -> str:
    turn = f' transform="rotate(-90 {x} {y})"' if turned else ""
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="{size}" fill="#222"{turn}>{escape(text)}</text>'
