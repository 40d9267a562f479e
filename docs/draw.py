"""Draw the dashboard as a picture, from its own queries: a Prometheus -> a PNG.

    make draw ARGS="http://localhost:9090 docs/dashboard.png"

For the documents only: it shows all workers of the last minutes, much as Grafana would. Theirs are simulated, by
`make demo ARGS="--workers 3 --speed 0.5"`.
"""

import io
import json
import math
import re
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from cycler import cycler
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from PIL import Image

DASHBOARD = Path(__file__).parents[1] / "config" / "grafana" / "sglang-workers.json"
MINUTES = 20
STEP = 10
"""Seconds between two points."""
UNITS = {"s": " s", "ms": " ms", "reqps": " /s", "percentunit": " %", "bytes": " MB", "short": ""}
SCALES = {"percentunit": 100, "bytes": 1e-6}
CELL = 0.62, 0.36
"""Inches of one cell of the dashboard's grid."""

STYLE = {
    "figure.facecolor": "#111217",
    "axes.facecolor": "#181b1f",
    "axes.edgecolor": "#2c3235",
    "axes.prop_cycle": cycler(color=["#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#b877d9"]),
    "text.color": "#d8d9da",
    "xtick.color": "#8e9297",
    "ytick.color": "#8e9297",
    "grid.color": "#2c3235",
    "font.size": 7,
}

Series = tuple[str, list[float], list[float]]
"""A name, the minutes before now, and the values there."""


def ask(server: str, expression: str, legend: str, now: float) -> list[Series]:
    """Return the series of a query over the last minutes."""
    # All of every variable.
    query = re.sub(r"\$(\w+)", lambda match: "1m" if match[1] == "__rate_interval" else ".*", expression)
    asked = urllib.parse.urlencode({"query": query, "start": now - 60 * MINUTES, "end": now, "step": STEP})
    with urllib.request.urlopen(f"{server}/api/v1/query_range?{asked}", timeout=30) as answer:  # noqa: S310 - the user's own server
        found = json.load(answer)["data"]["result"]
    return [
        (
            named(legend, series["metric"]),
            [(at - now) / 60 for at, _ in series["values"]],
            [float(value) for _, value in series["values"]],
        )
        for series in found
    ]


def named(legend: str, labels: dict[str, str]) -> str:
    """Return a legend with a series' labels filled in."""
    return re.sub(r"{{(\w+)}}", lambda match: labels.get(match[1], ""), legend)


def draw(axes: Axes, panel: dict[str, Any], series: list[Series]) -> None:
    """Draw one panel."""
    defaults = panel["fieldConfig"]["defaults"]
    scale, unit = SCALES.get(defaults["unit"], 1), UNITS[defaults["unit"]]
    series = [(name, at, [scale * value for value in values]) for name, at, values in series]
    if panel["type"] == "stat":
        draw_number(axes, panel["title"], series, unit)
        return
    axes.set_title(panel["title"] + (f" [{unit.strip()}]" if unit else ""), loc="left", fontsize=8)
    if defaults["custom"]["stacking"]["mode"] == "normal":
        axes.stackplot(
            series[0][1], *(padded(one, series[0]) for one in series), labels=[s[0] for s in series]
        )
    else:
        for name, at, values in series:
            axes.plot(at, values, label=name, linewidth=1)
    axes.set_ylim(bottom=0, top=max(1e-3, 1.1 * axes.dataLim.y1))
    axes.set_xlim(-MINUTES, 0)
    minutes = range(-MINUTES, 1, MINUTES // 5)
    axes.set_xticks(minutes, [f"{minute} min" if minute else "now" for minute in minutes])
    axes.grid(visible=True, linewidth=0.5)
    axes.set_axisbelow(b=True)
    longest = max(len(name) for name, _, _ in series)
    columns = max(1, min(4, 12 * panel["gridPos"]["w"] // (longest + 8)))
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.13),
        ncols=columns,
        frameon=False,
        fontsize=6,
        labelspacing=0.2,
    )


def draw_number(axes: Axes, title: str, series: list[Series], unit: str) -> None:
    """Draw a panel of a number, or of two as `3 of 4`: the last ones, before the course of the first."""
    last = [[value for value in values if not math.isnan(value)][-1] for _, _, values in series]
    _, at, values = series[0]
    axes.set_title(title, loc="left", fontsize=8)
    axes.fill_between(at, values, alpha=0.15)
    axes.set_ylim(bottom=0, top=max(1e-3, 1.6 * max(value for value in values if not math.isnan(value))))
    axes.set_xticks([])
    axes.set_yticks([])
    number = f"{' of '.join(map(shown, last))}{unit}"
    axes.text(0.5, 0.5, number, transform=axes.transAxes, ha="center", va="center", fontsize=15)


def shown(value: float) -> str:
    """Return a number to three digits, without an exponent."""
    return f"{float(f'{value:.3g}'):,.10g}"


def padded(one: Series, longest: Series) -> list[float]:
    """Return the values of a series at the times of another; 0 where it has none."""
    known = dict(zip(one[1], one[2], strict=True))
    return [known.get(at, 0.0) for at in longest[1]]


def main(server: str, target: Path) -> None:
    """Draw all panels where the dashboard has them."""
    dashboard = json.loads(DASHBOARD.read_text("utf-8"))
    now = time.time()
    places = [panel["gridPos"] for panel in dashboard["panels"]]
    width, height = 24 * CELL[0], max(place["y"] + place["h"] for place in places) * CELL[1] + 0.15
    plt.style.use(STYLE)
    figure = plt.figure(figsize=(width, height))
    for panel, place in zip(dashboard["panels"], places, strict=True):
        left, top = place["x"] * CELL[0], height - place["y"] * CELL[1]
        if panel["type"] == "row":
            title = f"{panel['title']} (folded)" if panel["collapsed"] else panel["title"]
            figure.text((left + 0.1) / width, (top - 0.25) / height, title, fontsize=10, weight="bold")
            continue
        number = panel["type"] == "stat"
        below, above, beside = (0.1 if number else 0.6), 0.3, (0.1 if number else 0.45)
        box = (left + beside, top - place["h"] * CELL[1] + below)
        size = (place["w"] * CELL[0] - beside - 0.1, place["h"] * CELL[1] - below - above)
        axes = figure.add_axes((box[0] / width, box[1] / height, size[0] / width, size[1] / height))
        found = [ask(server, each["expr"], each["legendFormat"], now) for each in panel["targets"]]
        draw(axes, panel, [series for answer in found for series in answer])
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=100)
    Image.open(drawn).quantize(128).save(target, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1].rstrip("/"), Path(sys.argv[2]))
