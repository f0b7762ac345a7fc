"""Attention within windows against a plain form that asks, pixel by pixel, who sees whom."""

import jax
import numpy as np
import pytest
from scipy import special

from mtl_jax.layers import windows


@pytest.mark.parametrize("shift", [0, 3])
def test_regions(shift):
    """A 14×14 map, windows of 7: 1, 2, 2 and 4 regions where it is shifted by 3."""
    ids = windows.region_ids((14, 14), 7, (shift, shift))
    seen = [len(np.unique(ids[y : y + 7, x : x + 7])) for y in (0, 7) for x in (0, 7)]
    assert seen == ([1, 2, 2, 4] if shift else [1, 1, 1, 1])


def plain(x, p, window, shift, heads):
    """[H, W, C] of one example; the map is padded, every pixel asks those of its window."""
    height, width, channels = x.shape
    x = np.pad(x, ((0, -height % window), (0, -width % window), (0, 0)))
    rows, columns = x.shape[:2]
    out = np.zeros_like(x)
    qkv = (x @ p["qkv"]["kernel"] + p["qkv"]["bias"]).reshape(rows, columns, 3, heads, -1)
    # Where a pixel is after the roll, which window that is, and from which end it came.
    place = [(np.arange(n) - s) % n for n, s in zip((rows, columns), shift)]
    came = [np.where(np.arange(n) < s, 1, 0) for n, s in zip((rows, columns), shift)]
    table = p["relative_position_bias_table"]
    for y in range(rows):
        for x_ in range(columns):
            mine = [place[0][y] // window, place[1][x_] // window, came[0][y], came[1][x_]]
            scores, values = [], []
            for b in range(rows):
                for a in range(columns):
                    theirs = [place[0][b] // window, place[1][a] // window, came[0][b], came[1][a]]
                    if mine[:2] != theirs[:2]:
                        continue
                    dy, dx = place[0][y] - place[0][b], place[1][x_] - place[1][a]
                    row = (dy + window - 1) * (2 * window - 1) + dx + window - 1
                    q, k = qkv[y, x_, 0], qkv[b, a, 1]
                    score = (q * k).sum(-1) / np.sqrt(q.shape[-1]) + table[row]
                    scores.append(score - (0.0 if mine[2:] == theirs[2:] else 100.0))
                    values.append(qkv[b, a, 2])
            weights = special.softmax(np.array(scores), axis=0)
            out[y, x_] = np.einsum("nh,nhd->hd", weights, np.array(values)).reshape(channels)
    return (out @ p["proj"]["kernel"] + p["proj"]["bias"])[:height, :width]


@pytest.mark.parametrize(
    ("size", "policy", "shift"),
    [((5, 9), "dense", (2, 2)), ((3, 6), "dense", (2, 2)), ((3, 6), "torchvision", (0, 2))],
)
def test_shifted_attention(size, policy, shift):
    module = windows.WindowAttention(heads=2, window=4, shifted=True, policy=policy)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, *size, 4)).astype(np.float32)
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), x))["params"]
    params = jax.tree.map(lambda leaf: rng.normal(0, 0.4, leaf.shape).astype(np.float32), shapes)
    found = jax.jit(module.apply)({"params": params}, x)[0]
    exact = jax.tree.map(lambda leaf: leaf.astype(np.float64), params)
    expected = plain(x[0].astype(np.float64), exact, 4, shift, heads=2)
    np.testing.assert_allclose(found, expected, atol=1e-5)
