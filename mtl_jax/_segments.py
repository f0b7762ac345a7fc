"""Groups of equal values among the pixels of an image, however many there are and whatever ids
they carry: sorted, so that shapes are static and no table of ids is needed."""

import jax
import jax.numpy as jnp


class Segments:
    """The groups of pixels of one image that agree in all of some maps.

    Attributes:
      first: [N] bool, True for one pixel of each group.
    """

    def __init__(self, *maps: jax.Array):
        """Sorts.

        Args:
          maps: int32 [N] each, e.g. an image's instance ids.
        """
        index = jnp.arange(maps[0].size, dtype=jnp.int32)
        *keys, self._order = jax.lax.sort((*maps, index), num_keys=len(maps))
        new = jnp.zeros(index.shape, bool).at[0].set(True)
        for key in keys:
            new = new.at[1:].max(key[1:] != key[:-1])
        self._number = jnp.cumsum(new.astype(jnp.int32)) - 1
        self.first = self._to_pixels(new)

    def sum(self, values: jax.Array) -> jax.Array:
        """[N] ─► [N]: at every pixel, the sum over its group."""
        totals = jax.ops.segment_sum(
            values[self._order],
            self._number,
            num_segments=values.size,
            indices_are_sorted=True,
        )
        return self._to_pixels(totals[self._number])

    def _to_pixels(self, in_order: jax.Array) -> jax.Array:
        result = jnp.zeros_like(in_order)
        return result.at[self._order].set(in_order, unique_indices=True)
