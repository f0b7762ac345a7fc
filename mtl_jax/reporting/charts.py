"""Charts as SVG: small, with real text, in colours that are legible on white and on black.

Text and axes are drawn in `INK`, a stand-in that the document replaces by the colour of its text.
Only Matplotlib's object interface is used, so nothing global changes.
"""

import dataclasses
import io
import re
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib import colors, figure, ticker
from matplotlib.backends import backend_svg
from matplotlib.layout_engine import ConstrainedLayoutEngine

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
_DASHES = ("-", "--", ":", "-.")
_METADATA = ("Creator", "Date", "Format", "Type")
_WIDTH, _HEIGHT = 4.4, 2.6  # inches: about the width of a phone
_DPI = 72  # of an SVG: a unit is a point
_STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#808890",
    "grid.alpha": 0.3,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "text.parse_math": False,  # names are text, with a $ in them too
    "lines.linewidth": 1.6,
    "lines.markersize": 4,
}


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
    labels = list(dict.fromkeys(line.label for line in content if not line.hollow))
    labels += dict.fromkeys(line.label for line in content if line.hollow)
    coloured = list(dict.fromkeys([*order, *(line.beside or line.label for line in content)]))
    with matplotlib.rc_context(_STYLE):
        fig, axes = _figure(_WIDTH, _HEIGHT + (_legend_height(labels) if legend else 0))
        for line in content:
            number = coloured.index(line.beside or line.label)
            colour = COLOURS[number % len(COLOURS)]
            first = line is next(other for other in content if other.label == line.label)
            style: dict = {"label": line.label if first else None, "color": colour}
            if line.hollow:
                style |= {"linestyle": "", "marker": "D", "markerfacecolor": "none"}
            else:
                style["linestyle"] = _DASHES[number // len(COLOURS) % len(_DASHES)]
                style["marker"] = "o" if len(line.x) <= 20 else ""
            x, y = np.asarray(line.x, float), np.asarray(line.y, float)
            axes.plot(x, y, **style)
            if len(line.deviations):
                axes.errorbar(x, y, yerr=line.deviations, fmt="none", ecolor=colour, capsize=2)
        axes.set_xlabel(x_label, parse_math=False)
        if log_x:
            axes.set_xscale("log")
        if legend:
            _add_legend(fig, labels)
        return _svg(fig)


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
    height = 0.75 + 0.2 * len(names)
    legend = ["published"] if any(published.values()) else []
    with matplotlib.rc_context(_STYLE):
        fig, axes = _figure(_WIDTH, height + _legend_height(legend))
        place = np.arange(len(names))
        axes.barh(place, [values[name] for name in names], height=0.65, color=COLOURS[0])
        for i, name in enumerate(names):
            if name in deviations:
                axes.errorbar(values[name], i, xerr=deviations[name], color=INK, capsize=2)
            marks = published.get(name, ())
            axes.plot(marks, [i] * len(marks), "D", color=COLOURS[1], markerfacecolor="none")
        axes.set_yticks(place, [_shortened(name) for name in names], parse_math=False)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.grid(False, axis="y")
        axes.set_xlabel(x_label, parse_math=False)
        if legend:
            axes.plot([], [], "D", color=COLOURS[1], markerfacecolor="none", label="published")
            _add_legend(fig, legend)
        return _svg(fig)


def confusion(counts: np.ndarray, names: Sequence[str]) -> str:
    """A confusion matrix in fractions of each true class.

    Args:
      counts: [C, C] pixels, rows are true classes.
      names: C names.
    """
    counts = np.asarray(counts, np.float64)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    side = 1.6 + 0.3 * len(names)
    with matplotlib.rc_context(_STYLE | {"axes.grid": False, "font.size": 8}):
        fig, axes = _figure(side, side)
        low, high = -0.5, len(names) - 0.5
        edges = np.arange(low, high + 1)
        grid = {"color": "#808890", "alpha": 0.2, "linewidth": 0.4}
        axes.hlines(edges, low, high, **grid)
        axes.vlines(edges, low, high, **grid)
        # Opacity says how much, so that it works on any background.
        picture = np.zeros((*shares.shape, 4))
        picture[..., :3] = colors.to_rgb(COLOURS[0])
        picture[..., 3] = shares
        axes.imshow(picture, interpolation="none")
        for i, j in np.argwhere(shares >= 0.005):  # what does not round to 0
            text = f"{shares[i, j]:.2f}".removeprefix("0")
            # It lies within its cell, so the layout need not ask how large it is.
            axes.text(j, i, text, ha="center", va="center", fontsize=6, in_layout=False)
        place = np.arange(len(names))
        axes.set_xticks(place, names, rotation=90, parse_math=False)
        shown = [
            name if total else f"{name} (absent)"
            for name, total in zip(names, totals[:, 0], strict=True)
        ]
        axes.set_yticks(place, shown, parse_math=False)
        axes.set_xlim(low, high)
        axes.set_ylim(high, low)
        axes.set_aspect("equal")
        axes.tick_params(length=0)
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class")
        return _svg(fig)


def _figure(width: float, height: float):
    layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.04)
    fig = figure.Figure(figsize=(width, height), layout=layout)
    backend_svg.FigureCanvasSVG(fig)
    fig.patch.set_alpha(0)
    axes = fig.add_subplot()
    axes.patch.set_alpha(0)
    axes.xaxis.set_major_locator(ticker.MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    return fig, axes


def _legend_height(labels: Sequence[str]) -> float:
    """Room for the legend, in inches."""
    return 0.17 * -(-len(labels) // _columns(labels)) if labels else 0.0


def _columns(labels: Sequence[str]) -> int:
    longest = max(len(_shortened(label)) for label in labels)
    return max(1, min(len(labels), int(_WIDTH / (0.35 + 0.075 * longest))))


def _add_legend(fig, labels) -> None:
    if not labels:
        return
    handles = {h.get_label(): h for h in fig.axes[0].get_legend_handles_labels()[0]}
    fig.legend(
        handles=[handles[label] for label in labels],
        labels=[_shortened(label) for label in labels],
        loc="outside lower center",
        ncols=_columns(labels),
        columnspacing=1.2,
        handlelength=1.6,
    )


def _shortened(name: str, most: int = 34) -> str:
    return name if len(name) <= most else name[: most // 2 - 1] + "…" + name[-most // 2 :]


def _svg(fig) -> str:
    buffer = io.StringIO()
    # Ticks follow from the layout and the layout from their labels: the second time it is right.
    # Saving would lay it out once more, and draw it for that.
    engine, fig.dpi = fig.get_layout_engine(), _DPI
    for _ in range(2):
        engine.execute(fig)
    fig.set_layout_engine(None)
    # Without metadata and with a fixed salt the same numbers give the same file.
    with matplotlib.rc_context({"svg.hashsalt": "mtl_jax"}):
        fig.savefig(buffer, format="svg", transparent=True, metadata=dict.fromkeys(_METADATA))
    return _compact(buffer.getvalue())


def _compact(svg: str) -> str:
    """The <svg> element in a fraction of the bytes, which looks the same."""
    svg = svg[svg.index("<svg ") :]
    # Nobody refers to the ids of groups.
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    # Backgrounds that are not painted, and rotations by nothing.
    svg = re.sub(r'<path [^>]*style="fill: none; opacity: 0"/>', "", svg)
    svg = re.sub(r' transform="rotate\(-?0 [^"]*\)"', "", svg)
    # One font for all of it, the reader's.
    svg = re.sub(r"font-family: [^;\"]*(; )?", "", svg)
    svg = svg.replace("<svg ", '<svg font-family="sans-serif" ', 1)
    # What stands between tags is text, and its numbers stay as they are.
    svg = re.sub(r"<[^>]*>", lambda tag: _compact_tag(tag[0]), svg)
    svg = re.sub(r">\s+<", "><", svg)
    while "<g></g>" in svg:
        svg = svg.replace("<g></g>", "")
    return _with_classes(svg)


def _compact_tag(tag: str) -> str:
    """Hundredths of a point, and no space where none is needed."""
    if tag.startswith("<image"):
        return re.sub(r"\n", "", tag)
    tag = re.sub(r"\d+\.\d+", lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), tag)
    tag = re.sub(r"\s+", " ", tag)
    tag = re.sub(r"([:;]) ", r"\1", tag)
    return re.sub(r" ?\b([MLCQz])\b ?", r"\1", tag) if tag.startswith("<path") else tag


def _with_classes(svg: str) -> str:
    """Every style is written once."""
    names = {}

    def name(style: re.Match) -> str:
        return f'class="{names.setdefault(style[1], f"s{len(names)}")}"'

    svg = re.sub(r'style="([^"]*)"', name, svg)
    rules = "".join(f".{name}{{{style}}}" for style, name in names.items())
    return svg.replace("</style>", f"{rules}</style>", 1)
