"""The drawing of charts: where things lie, what stands at an axis, what is left out."""

import itertools
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from matplotlib import ticker

from mtl_jax.reporting import axes, charts, svg, ticks

RANGES = [
    (0.0, 1.0),
    (-0.13, 2.83),
    (0.061, 0.182),
    (-7e5, 3e6),
    (1e6, 1e6 + 1),
    (2e-9, 8e-9),
    (-3e-4, -1e-4),
    (0.0, 1.0005e12),
]


def _number(label):
    return float(label.replace("−", "-"))


@pytest.mark.parametrize(("low", "high"), RANGES)
@pytest.mark.parametrize("most", [2, 4, 6, 7])
def test_ticks_are_no_further_apart_than_matplotlibs(low, high, most):
    """Matplotlib counts the steps of the whole axis, which may have one more than there are."""
    found = ticks.linear(low, high, most)
    values = np.array([value for value, _ in found])
    assert 2 <= len(values) <= max(3, most)
    locator = ticker.MaxNLocator(most - 1, steps=[1, 2, 2.5, 5, 10], min_n_ticks=1)
    theirs = np.asarray(locator.tick_values(low, high))
    theirs = theirs[(theirs >= low) & (theirs <= high)]
    step = np.diff(theirs)[0] if len(theirs) > 1 else np.inf
    ours = np.diff(values)[0]
    assert ours <= step * (1 + 1e-9)
    np.testing.assert_allclose(values / ours, np.rint(values / ours), atol=1e-6)
    assert round(ours / 10 ** np.floor(np.log10(ours) + 1e-9), 6) in (1, 2, 2.5, 5)
    assert [_number(label) for _, label in found] == values.tolist()


def test_the_labels_of_an_axis_are_of_one_kind():
    assert [label for _, label in ticks.linear(-0.2, 0.3, 6)] == [
        *("−0.2", "−0.1", "0.0", "0.1", "0.2", "0.3")
    ]
    assert [label for _, label in ticks.linear(0, 3e-7, 4)] == ["0", "1e−7", "2e−7", "3e−7"]
    # Where a power of ten would not be shorter.
    assert [label for _, label in ticks.linear(1e6, 1e6 + 1, 3)] == [
        *("1000000.0", "1000000.5", "1000001.0")
    ]


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0.0009, 1.1, "0.001 0.01 0.1 1"),
        (0.9, 11, "1 2 5 10"),
        (1e-9, 1e9, "1e−8 1e−4 1e0 1e4 1e8"),
        (1, 3, "1.0 1.5 2.0 2.5 3.0"),
    ],
)
def test_ticks_of_ratios(low, high, labels):
    assert [label for _, label in ticks.logarithmic(low, high, 6)] == labels.split()


def test_an_axis_shows_all_that_there_is():
    assert axes.limits([[1.0, np.nan], [3.0, np.inf]]) == pytest.approx((0.9, 3.1))
    assert axes.limits([[0.0, 2.0]], beyond=False) == pytest.approx((0.0, 2.1))
    assert axes.limits([[4.0, 4.0]]) == pytest.approx((3.8, 4.2))
    assert axes.limits([[0.0]]) == pytest.approx((-0.05, 0.05))
    assert axes.limits([[np.nan], []]) == (0.0, 1.0)
    low, high = axes.limits([[-1.0, 0.01, 1.0]], log=True)
    assert (low * 10**0.1, high / 10**0.1) == pytest.approx((0.01, 1.0))
    scale = axes.Scale(low, high, 10.0, 20.0, log=True)
    np.testing.assert_allclose(scale.place([0.1, 0.0]), [15.0, np.nan])


def test_labels_have_room():
    """Fewer ticks where labels are long, and the last one ends within the chart."""
    for low, high in ((1e6, 1e6 + 1), (0.5, 1.0), (0.0, 1e-7)):
        scale, found = axes.fitting(axes.Scale(low, high, 60.0, 300.0), 304.0)
        ends = [
            (x - svg.text_width(label, axes.FONT) / 2, x + svg.text_width(label, axes.FONT) / 2)
            for x, (_, label) in zip(scale.place([v for v, _ in found]), found, strict=True)
        ]
        assert all(left[1] < right[0] for left, right in itertools.pairwise(ends))
        assert ends[-1][1] <= 304.0 + 1e-9
        assert len(found) >= 2


def _points(d):
    return [[float(v) for v in point.split()] for point in re.split("[ML]", d)[1:]]


def test_long_lines_keep_their_peaks_and_gaps():
    """20,000 points on 100 of the paper's: what is drawn covers the same heights everywhere."""
    rng = np.random.default_rng(0)
    x, y = np.linspace(0, 100, 20_000), rng.normal(size=20_000)
    y[777], y[5_000:5_100] = 50.0, np.nan
    drawn = svg.polyline(x, y)
    assert drawn.count("M") == 2
    assert len(drawn) < 16_000
    kept = np.array(_points(drawn))
    assert [round(x[777], 2), 50.0] in kept.tolist()
    for column in range(200):
        within = (np.floor(2 * x) == column) & np.isfinite(y)
        if not within.any():
            continue
        ours = kept[np.abs(kept[:, 0] - column / 2 - 0.25) <= 0.25 + 0.005][:, 1]
        assert ours.max() >= y[within].max() - 0.005
        assert ours.min() <= y[within].min() + 0.005
    few = svg.polyline(np.arange(5.0), np.arange(5.0))
    assert few == "M0 0L1 1L2 2L3 3L4 4"


def test_commands_are_short():
    assert svg.commands("M", 1.0, -0.001, "V", 2.5, "M", 3.129, 4, "z") == "M1 0V2.5M3.13 4z"


def _of_style(chart, what, tag="path"):
    root = ET.fromstring(chart)
    (rules,) = (element.text for element in root.iter() if element.tag.endswith("style"))
    names = [name for name, rule in re.findall(r"\.(s\d+)\{([^}]*)\}", rules) if what in rule]
    return [e for e in root.iter() if e.tag.endswith(tag) and e.get("class") in names]


def test_bars_begin_at_zero_and_end_at_their_values():
    """Of 4, -2 and 1 the lengths, beside one that has no value; the deviation to both sides."""
    chart = charts.bars(
        {"a": 4.0, "none": np.nan, "b": -2.0, "c": 1.0}, x_label="x", deviations={"a": 1.0}
    )
    bars = [e.get("d") for e in _of_style(chart, f"fill:{charts.COLOURS[0]}")]
    sides = np.array([re.match(r"M(\S+) (\S+)h(\S+)v(\S+)H", d).groups() for d in bars], float)
    lengths = sides[:, 2] / sides[0, 2] * 4
    np.testing.assert_allclose(lengths, [4, 2, 1], atol=0.01)
    zero = sides[0, 0]
    np.testing.assert_allclose(sides[:, 0] + [0, sides[1, 2], 0], zero, atol=0.02)
    assert np.all(np.diff(sides[:, 1]) > 0)
    assert np.diff(sides[:, 1])[0] == pytest.approx(2 * np.diff(sides[:, 1])[1], abs=0.02)
    (deviation,) = (e.get("d") for e in _of_style(chart, "stroke-width:1.6"))
    begin, end = map(float, re.match(r"M(\S+) \S+H([\d.]+)M", deviation).groups())
    unit = sides[0, 2] / 4
    np.testing.assert_allclose([begin, end], [zero + 3 * unit, zero + 5 * unit], atol=0.03)


def test_a_legend_tells_lines_of_one_colour_apart():
    names = [f"run {i}" for i in range(12)]
    lines = [charts.Line(name, [0, 1], [i, i]) for i, name in enumerate(names)]
    chart = charts.lines(lines, x_label="epoch")
    looks = [e.get("class") for e in _of_style(chart, "stroke-width:1.6")]
    assert len(looks) == 24  # each once as a line, once in the legend
    assert len(set(looks)) == 12
    texts = [e for e in ET.fromstring(chart).iter() if e.tag.endswith("text")]
    entries = {e.text: (float(e.get("x")), float(e.get("y"))) for e in texts if e.text in names}
    assert len(set(entries.values())) == 12
    width, height = map(float, ET.fromstring(chart).get("viewBox").split()[2:])
    for name, (x, y) in entries.items():
        assert 0 < x < x + svg.text_width(name, 8) <= width
        assert y < height


def test_names_are_text_and_nothing_else():
    name = '<b> & "$x$"' + 40 * "n"
    chart = charts.bars({name: 1.0}, x_label="a < b")
    texts = [e.text for e in ET.fromstring(chart).iter() if e.tag.endswith("text")]
    assert "a < b" in texts
    (shown,) = (text for text in texts if text.startswith("<b>"))
    assert len(shown) == 34
    assert "…" in shown


@pytest.mark.parametrize(
    ("y", "x"), [([], []), ([np.nan], [1]), ([0.0], [0]), ([7.0, 7.0], [1, 2])]
)
def test_little_is_drawn_too(y, x):
    ET.fromstring(charts.lines([charts.Line("a", x, y)], x_label="epoch"))
    ET.fromstring(charts.lines([charts.Line("a", x, y)], x_label="epoch", log_x=True))
    ET.fromstring(charts.bars(dict(zip("ab", y, strict=False)), x_label="x"))
