"""What `config.predict` holds."""

import dataclasses

from mtl_jax.errors import ConfigError
from mtl_jax.system import MULTIPLE_OF

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
      tile: side in pixels, a multiple of 32. Of an image that is larger, the network is
        given overlapping tiles, and what it says of them is blended. 0 gives it whole images.
      tile_overlap: how many pixels neighbouring tiles share, or a few more.
      figure: 'overlay', each prediction laid over the image; 'side_by_side', the image and each
        prediction as it is; or 'both'.
      figure_width: of each picture in a figure, in pixels.
      save_npz: writes the predicted arrays too.

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

    def __post_init__(self):
        """Checks every value."""
        self._expect(self.max_size >= 0, "max_size", "pixels, or 0 for any size")
        self._expect(self.batch_size >= 1, "batch_size", "1 or more")
        self._expect(
            self.tile >= 0 and self.tile % MULTIPLE_OF == 0,
            "tile",
            f"a multiple of {MULTIPLE_OF} pixels, or 0 for whole images",
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

    def _expect(self, condition: bool, key: str, expected: str) -> None:
        if not condition:
            found = getattr(self, key)
            raise ConfigError(f"config.predict.{key}={found!r}; expected {expected}.")
