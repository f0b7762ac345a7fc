"""Position tables of vision transformers, resampled to another grid.

Three rules are in use and none can stand in for another: the wrong one moves a network's features
by 0.02 to 2 standard deviations. All are separable cubic interpolations, and none changes a table
whose grid fits.

  'aa'      kernel a = −½, antialiased where the grid shrinks: today's timm, DINOv2 with registers
            (the same as `jax.image.resize(..., 'cubic')`);
  'plain'   kernel a = −¾, four taps, never antialiased, border rows repeated: timm 0.5.4 and with
            it InvPT, TaskPrompter and MLoRE;
  'offset'  as 'plain', but a pixel of the new grid is M / (n + 0.1) old ones wide instead of
            M / n: DINOv2 without registers.
"""

import jax
import jax.numpy as jnp
import numpy as np

from mtl_jax.errors import UsageError

RULES = ("aa", "plain", "offset")


def resample(
    table: jax.Array, grid: tuple[int, int], size: tuple[int, int], rule: str
) -> jax.Array:
    """A table of positions for another grid.

    Args:
      table: [M·N, C], row-major over its grid.
      grid: (M, N), the rows and columns that the table is of.
      size: (h, w) of the new grid.
      rule: one of `RULES`.

    Returns:
      [h·w, C] float32.

    Raises:
      UsageError: the table is not of that grid, or there is no such rule.
    """
    if len(table) != grid[0] * grid[1]:
        raise UsageError(f"Expected {grid[0]}×{grid[1]} positions, found {len(table)}.")
    if rule not in RULES:
        raise UsageError(f"Position rule {rule!r}; expected one of {', '.join(RULES)}.")
    table = table.astype(jnp.float32)
    if tuple(size) == tuple(grid):
        return table
    rows, columns = (
        jnp.asarray(matrix(old, new, rule), jnp.float32)
        for old, new in zip(grid, size, strict=True)
    )
    table = table.reshape(*grid, -1)
    table = jnp.einsum("hi,wj,ijc->hwc", rows, columns, table, precision=jax.lax.Precision.HIGHEST)
    return table.reshape(size[0] * size[1], -1)


def matrix(n_in: int, n_out: int, rule: str) -> np.ndarray:
    """[n_out, n_in] float64 weights of one axis; every row sums to 1."""
    if rule == "aa":
        wider = max(1.0, n_in / n_out)
        centre = (np.arange(n_out) + 0.5) * n_in / n_out - 0.5
        weights = _cubic((np.arange(n_in) - centre[:, None]) / wider, -0.5)
        return weights / weights.sum(axis=1, keepdims=True)
    step = n_in / (n_out + 0.1) if rule == "offset" else n_in / n_out
    position = (np.arange(n_out) + 0.5) * step - 0.5
    first = np.floor(position).astype(int)
    weights = np.zeros((n_out, n_in))
    for tap in range(-1, 3):
        index = np.clip(first + tap, 0, n_in - 1)
        np.add.at(weights, (np.arange(n_out), index), _cubic(position - first - tap, -0.75))
    return weights


def _cubic(x: np.ndarray, a: float) -> np.ndarray:
    """Keys's kernel (1981): 1 at 0, 0 at the other integers and beyond ±2."""
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = a * (((x - 5) * x + 8) * x - 4)
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))
