"""What `config.predict` holds."""

import dataclasses

from mtl_jax.errors import ConfigError
from mtl_jax.layers import ImageSizes

FIGURES = {
    "overlay": ("overlay",),
    "side_by_side": ("side_by_side",),
    "both": ("overlay", "side_by_side"),
}
_LEAST_FIGURE_WIDTH = 120  # a legend's entry has to fit in


@dataclasses.dataclass(frozen=True)
class Settings:
    """How images are predicted and what is written: `Settings(**config.predict)`.

    Attributes:
      max_size: images with a longer side are shrunk to so many pixels for the network, and
        predictions are enlarged again by nearest neighbour. 0 predicts on all of their pixels.
      batch_size: images of one padded size, or tiles, that the network is given at once.
      tile: side in pixels, a multiple of 32 or of what the network needs. Of an image that is
        larger, the network is given overlapping tiles, and what it says of them is blended. 0 gives
        it whole images, or tiles of the one size that it takes.
      tile_overlap: how many pixels neighbouring tiles share, or a few more; of tiles of the one
        size that a network takes at most half of them.
      figure: 'overlay', each prediction laid over the image; 'side_by_side', the image and each
        prediction as it is; or 'both'.
      figure_width: of each picture in a figure, in pixels.
      save_npz: writes the predicted arrays too.
      sizes: which images the network takes: `System.sizes`.

    Raises:
      ConfigError: a value that is impossible; the message names its key.
    """

    max_size: int = 0
    batch_size: int = 1
    tile: int = 0
    tile_overlap: int = 128
    figure: str = "overlay"
    figure_width: int = 640
    save_npz: bool = False
    sizes: ImageSizes = ImageSizes()

    def __post_init__(self):
        """Checks every value."""
        self._expect(self.max_size >= 0, "max_size", "pixels, or 0 for any size")
        self._expect(self.batch_size >= 1, "batch_size", "1 or more")
        only, multiple = self.sizes.only, self.sizes.padding
        self._expect(
            self.tile >= 0 and self.tile % multiple == 0 and not (only and self.tile),
            "tile",
            f"0, as this network takes images of {only} pixels alone"
            if only
            else f"a multiple of {multiple} pixels, or 0 for whole images",
        )
        self._expect(
            self.tile_overlap >= 0 and (not self.tile or self.tile_overlap < self.tile),
            "tile_overlap",
            f"0 or more pixels, and fewer than config.predict.tile={self.tile}",
        )
        self._expect(self.figure in FIGURES, "figure", f"one of {', '.join(FIGURES)}")
        self._expect(
            self.figure_width >= _LEAST_FIGURE_WIDTH,
            "figure_width",
            f"{_LEAST_FIGURE_WIDTH} pixels or more",
        )

    @property
    def figures(self) -> tuple[str, ...]:
        """The kinds of figures to draw."""
        return FIGURES[self.figure]

    def overlap(self, tile: tuple[int, int]) -> int:
        """The pixels that neighbouring tiles of that shape share at least."""
        if self.sizes.only is None:
            return self.tile_overlap
        return min(self.tile_overlap, min(tile) // 2)

    def tile_shape(self, size: tuple[int, int]) -> tuple[int, int] | None:
        """(h, w) of the tiles of an image of that size; None = it is predicted whole."""
        only = self.sizes.only
        if only is not None:
            return only if size[0] > only[0] or size[1] > only[1] else None
        shape = self.sizes.padded(size)
        if not 0 < self.tile < max(shape):
            return None
        return min(self.tile, shape[0]), min(self.tile, shape[1])

    def _expect(self, condition: bool, key: str, expected: str) -> None:
        if not condition:
            found = getattr(self, key)
            raise ConfigError(f"config.predict.{key}={found!r}; expected {expected}.")
