"""The axes of a chart: from numbers to points of the paper, with ticks, grid and labels."""

import dataclasses
import math
from collections.abc import Iterable, Sequence

import numpy as np

from mtl_jax.reporting import svg, ticks
from mtl_jax.reporting.document import INK

EDGE = 4.3  # free space around a chart; all lengths here are points
LINE = 13.0  # from one line of text to the next
FONT = 9.0
TICK = 3.5  # length of a tick, and of the gap between it and its label
_MARGIN = 0.05  # free space at an end of an axis, of what it shows
_DIGIT = 0.36  # half the height of a digit, of the font's size
_GRID = "fill:none;stroke:#808890;stroke-opacity:0.3;stroke-width:0.6"
_LINES = f"fill:none;stroke:{INK};stroke-width:0.8"


@dataclasses.dataclass(frozen=True)
class Scale:
    """Numbers from `low` to `high` along points from `begin` to `end`.

    Attributes:
      low, high: low < high; of a logarithmic scale both are positive.
      begin, end: where they lie.
      log: whether equal ratios are equally far apart.
    """

    low: float
    high: float
    begin: float
    end: float
    log: bool = False

    def place(self, values) -> np.ndarray:
        """Points, as many as there are values; NaN of what a logarithmic scale does not have."""
        values = np.asarray(values, float)
        low, high = self.low, self.high
        if self.log:
            values = np.log(np.where(values > 0, values, np.nan))
            low, high = math.log(low), math.log(high)
        return self.begin + (values - low) / (high - low) * (self.end - self.begin)

    def ticks(self, most: int) -> list[ticks.Tick]:
        """At most so many ticks, at least 2."""
        choose = ticks.logarithmic if self.log else ticks.linear
        return choose(self.low, self.high, most)


def limits(
    values: Iterable[Sequence[float]], *, log: bool = False, beyond: bool = True
) -> tuple[float, float]:
    """(low, high) of an axis that shows all values, with some space at its ends.

    Args:
      values: what is not finite, or not positive on a logarithmic scale, is passed over.
      log: whether the scale is logarithmic.
      beyond: whether there is space beyond 0 too where it is the lowest or highest value.
    """
    every = np.concatenate([np.zeros(0), *(np.ravel(np.asarray(v, float)) for v in values)])
    every = every[np.isfinite(every) & (every > (0 if log else -np.inf))]
    if not every.size:
        return (1.0, 10.0) if log else (0.0, 1.0)
    low, high = float(every.min()), float(every.max())
    if not (beyond or low or high):
        return 0.0, 1.0
    if log:
        ratio = max(high / low, 1.01) ** _MARGIN
        return low / ratio, high * ratio
    # All the same, or as good as: a range of its own size.
    least = 1e-9 * max(abs(low), abs(high))
    space = _MARGIN * (high - low if high - low > least else abs(high) or 1.0)
    return (
        low - (space if beyond or low != 0 else 0.0),
        high + (space if beyond or high != 0 else 0.0),
    )


def fitting(scale: Scale, width: float) -> tuple[Scale, list[ticks.Tick]]:
    """A horizontal scale and the ticks whose labels have room; the last ends within `width`."""
    for most in range(6, 1, -1):
        found = scale.ticks(most)
        room = sum(svg.text_width(label, FONT) + FONT for _, label in found)
        if room <= scale.end - scale.begin:
            break
    value, label = found[-1]
    place = float(scale.place(value))
    beyond = place + svg.text_width(label, FONT) / 2 - width
    if beyond > 0:  # the last tick goes along in proportion with an end that moves
        share = (place - scale.begin) / (scale.end - scale.begin)
        scale = dataclasses.replace(scale, end=scale.end - beyond / share)
    return scale, found


def left_margin(labels: Iterable[str], size: float = FONT) -> float:
    """The room that labels beside a vertical axis take."""
    return EDGE + 2 * TICK + max((svg.text_width(label, size) for label in labels), default=0.0)


def text(size: float, anchor: str = "start") -> str:
    """The style of a text: font size in points; 'start', 'middle' or 'end' is at its place."""
    return f"fill:{INK};font-size:{size:g}px;text-anchor:{anchor}"


def horizontal(
    drawing: svg.Drawing, scale: Scale, found: Sequence[ticks.Tick], top: float, bottom: float
) -> None:
    """Ticks and labels below an area from `top` to `bottom`, and the grid's upright lines."""
    places = scale.place([value for value, _ in found])
    _paths(drawing, [svg.commands("M", x, bottom, "V", top) for x in places], _GRID)
    _paths(drawing, [svg.commands("M", x, bottom, "v", TICK) for x in places], _LINES)
    for x, (_value, label) in zip(places, found, strict=True):
        drawing.text(x, bottom + 2 * TICK + 2 * _DIGIT * FONT, label, text(FONT, "middle"))


def vertical(
    drawing: svg.Drawing,
    places: Sequence[float],
    labels: Sequence[str],
    left: float,
    right: float,
    *,
    grid: bool,
) -> None:
    """Ticks and labels at `places` beside an area from `left` to `right`; with lines of a grid."""
    if grid:
        _paths(drawing, [svg.commands("M", left, y, "H", right) for y in places], _GRID)
    _paths(drawing, [svg.commands("M", left, y, "h", -TICK) for y in places], _LINES)
    for y, label in zip(places, labels, strict=True):
        drawing.text(left - 2 * TICK, y + _DIGIT * FONT, label, text(FONT, "end"))


def corner(drawing: svg.Drawing, left: float, top: float, right: float, bottom: float) -> None:
    """The lines of both axes."""
    drawing.path(svg.commands("M", left, top, "V", bottom, "H", right), _LINES)


def _paths(drawing: svg.Drawing, commands: Sequence[str], style: str) -> None:
    if commands:
        drawing.path("".join(commands), style)
