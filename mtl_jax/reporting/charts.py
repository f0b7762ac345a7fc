"""Charts as SVG: small, with real text, in colours that are legible on white and on black.

Text and axes are drawn in `INK`, a stand-in that the document replaces by the colour of its text.
The files are written directly: a chart takes milliseconds, and reports have hundreds of them.
"""

import base64
import dataclasses
import io
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from PIL import Image

from mtl_jax.reporting import axes, svg
from mtl_jax.reporting.document import INK

# Contrast of at least 3 to white and to nearly black.
COLOURS = (
    "#3b7dd8",
    "#d9731a",
    "#2e9e5b",
    "#d64550",
    "#8b6bd1",
    "#1b96a8",
    "#c05a9e",
    "#8f8a1f",
    "#a1714f",
    "#7f8794",
)
_DASHES = ("", "6 2.5", "1.6 2.6", "9 2.5 1.6 2.5")  # points, of SVG's stroke-dasharray
# Points, as all lengths here.
_WIDTH = 316.8  # about the width of a phone
_HEIGHT = 145.0  # of the area in which lines are drawn
_BAR = 14.4  # from one bar to the next
_CELL = 21.6  # of a confusion matrix
_SMALL = 8.0  # font of legends and of a confusion matrix
_LEGEND_LINE = 12.3
_RADIUS = 2.5  # of marks


@dataclasses.dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
      label: in the legend; lines of one label share a colour and one entry.
      x, y: as many numbers each; NaN leaves a gap.
      hollow: unconnected hollow marks, for what others have published.
      beside: the label of another line, whose colour this one takes.
      deviations: sample standard deviations of y, NaN where there is none; () = none at all.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    hollow: bool = False
    beside: str = ""
    deviations: Sequence[float] = ()


def lines(
    content: Sequence[Line],
    *,
    x_label: str,
    log_x: bool = False,
    legend: bool = True,
    order: Sequence[str] = (),
) -> str:
    """A chart of lines; of a few points each is marked.

    Args:
      content: the lines, the first below.
      x_label: below the axis.
      log_x: whether equal ratios are equally far apart.
      legend: below that.
      order: labels in the order of colours; charts that share it give a label the same colour.
    """
    heights = [y for line in content for y in (line.y, *_ends(line))]
    bottom = axes.EDGE + _HEIGHT
    y = axes.Scale(*axes.limits(heights), bottom, axes.EDGE)
    marks = y.ticks(7)
    left = axes.left_margin(label for _, label in marks)
    span = axes.limits([line.x for line in content], log=log_x)
    x, along = axes.fitting(axes.Scale(*span, left, _WIDTH - axes.EDGE, log_x), _WIDTH)

    drawing = svg.Drawing()
    axes.horizontal(drawing, x, along, axes.EDGE, bottom)
    places, labels = y.place([value for value, _ in marks]), [label for _, label in marks]
    axes.vertical(drawing, places, labels, left, x.end, grid=True)
    coloured = list(dict.fromkeys([*order, *(line.beside or line.label for line in content)]))
    entries: dict[str, _Look] = {}
    for line in content:
        look = _look(line, coloured.index(line.beside or line.label))
        _draw(drawing, line, look, x, y)
        entries.setdefault(line.label, look)
    axes.corner(drawing, left, axes.EDGE, x.end, bottom)
    # What others have published stands last.
    entries = dict(sorted(entries.items(), key=lambda entry: entry[1].hollow))
    return _with_words(
        drawing, _WIDTH, (left + x.end) / 2, bottom, x_label, entries if legend else {}
    )


def bars(
    values: Mapping[str, float],
    *,
    x_label: str,
    deviations: Mapping[str, float] | None = None,
    published: Mapping[str, Sequence[float]] | None = None,
) -> str:
    """Horizontal bars, the first on top.

    Args:
      values: {name: value}; NaN leaves the place empty.
      x_label: below the axis.
      deviations: {name: sample standard deviation}, drawn as a line to both sides.
      published: {name: values}, drawn as hollow marks.
    """
    names, deviations, published = list(values), deviations or {}, published or {}
    ends = [values[name] + sign * std for name, std in deviations.items() for sign in (-1, 1)]
    every = [[0.0, *values.values()], ends, *published.values()]
    left = axes.left_margin(_shortened(name) for name in names)
    span = axes.limits(every, beyond=False)
    x, along = axes.fitting(axes.Scale(*span, left, _WIDTH - axes.EDGE), _WIDTH)
    bottom = axes.EDGE + _BAR * len(names)
    places = [axes.EDGE + _BAR * (i + 0.5) for i in range(len(names))]

    drawing = svg.Drawing()
    axes.horizontal(drawing, x, along, axes.EDGE, bottom)
    axes.vertical(drawing, places, [*map(_shortened, names)], left, x.end, grid=False)
    zero = float(x.place(0.0))
    for name, y in zip(names, places, strict=True):
        if math.isfinite(values[name]):
            end, height = float(x.place(values[name])), 0.65 * _BAR
            begin, width = min(zero, end), abs(end - zero)
            drawing.rectangle(begin, y - height / 2, width, height, f"fill:{COLOURS[0]}")
        if math.isfinite(deviation := deviations.get(name, math.nan)):
            low, high = x.place([values[name] - deviation, values[name] + deviation])
            d = svg.commands(
                "M", low, y, "H", high, "M", low, y - 2, "v", 4, "M", high, y - 2, "v", 4
            )
            drawing.path(d, f"fill:none;stroke:{INK};stroke-width:1.6")
    known = [(value, y) for name, y in zip(names, places) for value in published.get(name, ())]
    look = _Look(COLOURS[1], hollow=True)
    _diamonds(drawing, x.place([v for v, _ in known]), [y for _, y in known], look)
    axes.corner(drawing, left, axes.EDGE, x.end, bottom)
    entries = {"published": look} if known else {}
    return _with_words(drawing, _WIDTH, (left + x.end) / 2, bottom, x_label, entries)


def confusion(counts: np.ndarray, names: Sequence[str]) -> str:
    """A confusion matrix in fractions of each true class.

    Args:
      counts: [C, C] pixels, rows are true classes.
      names: C names.
    """
    counts = np.asarray(counts, np.float64)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    shown = [
        name if total else f"{name} (absent)"
        for name, total in zip(names, totals[:, 0], strict=True)
    ]
    side, top = _CELL * len(names), axes.EDGE
    left = axes.LINE + axes.left_margin(shown, _SMALL)
    right, bottom = left + side, top + side

    drawing = svg.Drawing()
    edges = _CELL * np.arange(len(names) + 1)
    grid = [
        svg.commands("M", left, top + e, "h", side, "M", left + e, top, "v", side) for e in edges
    ]
    drawing.path("".join(grid), "fill:none;stroke:#808890;stroke-opacity:0.2;stroke-width:0.4")
    drawing.image(left, top, side, side, _opacities(shares))
    for i, j in np.argwhere(shares >= 0.005):  # what does not round to 0
        text = f"{shares[i, j]:.2f}".removeprefix("0")
        x, y = left + _CELL * (j + 0.5), top + _CELL * (i + 0.5)
        drawing.text(x, y + 2.2, text, axes.text(6, "middle"))
    for i, (name, true) in enumerate(zip(names, shown, strict=True)):
        place = _CELL * (i + 0.5) + 2.9
        drawing.text(left - axes.TICK, top + place, true, axes.text(_SMALL, "end"))
        end = axes.text(_SMALL, "end")
        drawing.text(left + place, bottom + axes.TICK, name, end, upwards=True)
    axes.corner(drawing, left, top, right, bottom)
    middle = axes.text(_SMALL, "middle")
    drawing.text(axes.LINE - 2, top + side / 2, "true class", middle, upwards=True)
    below = bottom + axes.left_margin(names, _SMALL) + axes.LINE / 2
    drawing.text(left + side / 2, below, "predicted class", middle)
    return drawing.finish(right + axes.EDGE, below + axes.EDGE)


@dataclasses.dataclass(frozen=True)
class _Look:
    """How a line and its entry in a legend look."""

    colour: str
    dashes: str = ""
    marked: bool = False
    hollow: bool = False


def _look(line: Line, number: int) -> _Look:
    """That of the `number`th colour."""
    colour = COLOURS[number % len(COLOURS)]
    if line.hollow:
        return _Look(colour, hollow=True)
    return _Look(colour, _DASHES[number // len(COLOURS) % len(_DASHES)], len(line.x) <= 20)


def _draw(drawing: svg.Drawing, line: Line, look: _Look, x: axes.Scale, y: axes.Scale) -> None:
    """A line with its marks and error bars."""
    across, up = x.place(line.x), y.place(line.y)
    known = np.isfinite(across) & np.isfinite(up)
    for low, high in [_ends(line)] if len(line.deviations) else ():
        bars = [
            svg.commands("M", a, b, "V", c, "M", a - 2, b, "h", 4, "M", a - 2, c, "h", 4)
            for a, b, c in zip(across, y.place(low), y.place(high), strict=True)
            if np.isfinite(a + b + c)
        ]
        drawing.path("".join(bars), f"fill:none;stroke:{look.colour};stroke-width:1.6")
    if look.hollow:
        _diamonds(drawing, across[known], up[known], look)
        return
    drawing.path(svg.polyline(across, up), _stroke(look))
    if look.marked:
        drawing.circles(across[known], up[known], _RADIUS, f"fill:{look.colour}")


def _ends(line: Line) -> Sequence[np.ndarray]:
    """Both ends of the error bars, NaN where there is none; none at all without deviations."""
    if not len(line.deviations):
        return ()
    y, deviations = np.asarray(line.y, float), np.asarray(line.deviations, float)
    return y - deviations, y + deviations


def _stroke(look: _Look) -> str:
    dashes = f";stroke-dasharray:{look.dashes}" if look.dashes else ""
    return f"fill:none;stroke:{look.colour};stroke-width:1.6{dashes}"


def _diamonds(drawing: svg.Drawing, x: Iterable[float], y: Iterable[float], look: _Look) -> None:
    marks = [
        svg.commands("M", a, b - 2.8, "l", 2.8, 2.8, "l", -2.8, 2.8, "l", -2.8, -2.8, "z")
        for a, b in zip(x, y, strict=True)
    ]
    if marks:
        drawing.path("".join(marks), f"fill:none;stroke:{look.colour}")


def _with_words(
    drawing: svg.Drawing,
    width: float,
    middle: float,
    bottom: float,
    x_label: str,
    entries: Mapping[str, _Look],
) -> str:
    """The whole chart, with the axis's label and a legend below it."""
    below = bottom + 2 * axes.LINE + 1
    drawing.text(middle, below, x_label, axes.text(axes.FONT, "middle"))
    if entries:
        below = _legend(drawing, width, below + 3, entries)
    return drawing.finish(width, below + axes.EDGE)


def _legend(drawing: svg.Drawing, width: float, top: float, entries: Mapping[str, _Look]) -> float:
    """Draws a legend, filled column by column, in the middle; returns where it ends."""
    labels = [_shortened(label) for label in entries]
    handle, gap = 17.0, 9.6  # room for the line, and between columns
    longest = handle + gap + max(svg.text_width(label, _SMALL) for label in labels)
    rows = -(-len(labels) // max(1, min(len(labels), int(width / longest))))
    columns = [labels[i : i + rows] for i in range(0, len(labels), rows)]
    widths = [
        handle + gap + max(svg.text_width(label, _SMALL) for label in column) for column in columns
    ]
    begins = np.cumsum([(width - sum(widths) + gap) / 2, *widths])
    for number, (label, look) in enumerate(zip(labels, entries.values(), strict=True)):
        column, row = divmod(number, rows)
        x, y = float(begins[column]), top + _LEGEND_LINE * (row + 0.5)
        if look.hollow:
            _diamonds(drawing, [x + 6.4], [y], look)
        else:
            drawing.path(svg.commands("M", x, y, "L", x + 12.8, y), _stroke(look))
        if look.marked:
            drawing.circles([x + 6.4], [y], _RADIUS, f"fill:{look.colour}")
        drawing.text(x + handle, y + 2.9, label, axes.text(_SMALL))
    return top + _LEGEND_LINE * rows - 2


def _shortened(name: str, most: int = 34) -> str:
    return name if len(name) <= most else name[: most // 2 - 1] + "…" + name[-most // 2 :]


def _opacities(shares: np.ndarray) -> str:
    """[C, C] of 0 to 1 as a picture, a pixel each: opacity works on any background."""
    pixels = np.zeros((*shares.shape, 4), np.uint8)
    pixels[..., :3] = [int(COLOURS[0][i : i + 2], 16) for i in (1, 3, 5)]
    pixels[..., 3] = np.rint(255 * shares)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
