import itertools

import numpy as np

from input_pipeline import palettes

# Machado et al. 2009, severity 1, for linear RGB.
SIGHTS = {
    "usual": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
}
XYZ_OF_RGB = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
GREYS = [(0, 0, 0), (255, 255, 255), palettes.NO_LABEL]


def lab(colours, sight):
    """CIE L*a*b* (D65) of sRGB colours, as somebody with that sight sees them."""
    values = np.asarray(colours) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ SIGHTS[sight].T, 0, 1)
    relative = seen @ XYZ_OF_RGB.T / [0.95047, 1.0, 1.08883]
    f = np.where(
        relative > (6 / 29) ** 3, np.cbrt(relative), (29 / 3) ** 3 / 116 * relative + 4 / 29
    )
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


def least_distance(colours, others=None):
    """Over all sights and pairs: of colours with one another, or with others."""
    least = np.inf
    for sight in SIGHTS:
        a = lab(colours, sight)
        if others is None:
            pairs = itertools.combinations(a, 2)
        else:
            pairs = itertools.product(a, lab(others, sight))
        least = min(least, min(np.linalg.norm(p - q) for p, q in pairs))
    return least


def test_colours_can_be_told_apart_whoever_looks():
    for count, least in ((8, 17), (21, 16), (40, 11)):
        assert least_distance(palettes.default(count)) > least
    assert len(set(palettes.default(256))) == 256


def test_no_colour_is_black_or_white_or_the_grey_of_no_label():
    assert least_distance(palettes.default(256), GREYS) > 4
    assert least_distance(palettes.default(40), GREYS) > 9
    usual = lab(palettes.default(256), "usual")
    assert np.hypot(usual[:, 1], usual[:, 2]).min() > 25  # no grey at all
    assert 25 < usual[:, 0].min() < usual[:, 0].max() < 93


def test_a_longer_list_begins_as_a_shorter_one_does():
    assert palettes.default(300)[:40] == palettes.default(40)
    assert palettes.default(300)[256:] == palettes.default(44)
    assert palettes.default(1) == ((230, 159, 0),)
