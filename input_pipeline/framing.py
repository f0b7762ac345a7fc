"""What whole images and their labels are brought to for an evaluation: one size, or their own."""

import dataclasses

import numpy as np

from input_pipeline import recipes, transforms
from input_pipeline.errors import OptionError
from input_pipeline.labels import LabelSpec

_PADDINGS = {"black": 0, "mean": recipes.MEAN}


@dataclasses.dataclass(frozen=True)
class Framing:
    """How an image of any size, and its labels, become arrays of an evaluation.

    Attributes:
      image_size: (height, width) to which everything is padded or cropped, centred, e.g. (512, 512)
        for VOC (report D). None keeps the size, which then has to be the same within a batch.
      resize: (height, width) that everything is stretched to before, images and normals
        bicubically, other labels to the nearest pixel.
      resize_back: only a further image is stretched; all else lies top left in a frame of
        `image_size`, by default of `resize`.
      padding: what images are padded with: 'black', or 'mean', which is 0 when normalised.
      crop_multiple: cut right and bottom so that height and width are multiples of this, e.g. 32
        for Miniscapes (reports A and B).
    """

    image_size: tuple[int, int] | None = None
    resize: tuple[int, int] | None = None
    resize_back: bool = False
    padding: str = "black"
    crop_multiple: int = 1

    def __post_init__(self):
        """Raises OptionError for what does not go together, or is not positive."""
        size, multiple = self.image_size, self.crop_multiple
        if self.resize_back and (self.resize is None or multiple != 1):
            raise OptionError(
                f"config.eval.resize_back=True, found resize={self.resize} and "
                f"crop_multiple={multiple}; expected a (height, width) to resize to, and 1."
            )
        if size is not None and multiple != 1:
            raise OptionError(
                f"image_size={size} and crop_multiple={multiple}; expected one of them."
            )
        if size is not None and min(size) < 1:
            raise OptionError(f"image_size={size}; expected a positive height and width.")
        if multiple < 1:
            raise OptionError(f"crop_multiple={multiple}; expected a positive number.")
        if self.padding not in _PADDINGS:
            raise OptionError(f"padding={self.padding!r}; expected one of black, mean.")

    @property
    def size(self) -> tuple[int, int] | None:
        """That all arrays have; None if each has its own."""
        return self.image_size or self.resize

    @property
    def changes(self) -> bool:
        """Whether anything is done at all."""
        return bool(self.size) or self.crop_multiple > 1

    def fit(self, value: np.ndarray, spec: LabelSpec) -> np.ndarray:
        """An image or a label in its frame.

        Raises:
          OptionError: it is smaller than `crop_multiple`.
        """
        fill = _PADDINGS[self.padding] if spec.kind == "image" else spec.fill
        if self.resize_back:
            return transforms.window(value, (0, 0), self.size, fill)
        if self.resize is not None:
            value = recipes.stretched(value, spec, self.resize)
        if self.image_size is not None:
            room = np.subtract(value.shape[:2], self.image_size)
            offset = np.where(room >= 0, room // 2, -(-room // 2))
            return transforms.window(value, offset.tolist(), self.image_size, fill)
        height, width = (n // self.crop_multiple * self.crop_multiple for n in value.shape[:2])
        if not height * width:
            raise OptionError(
                f"an image of {value.shape[0]}×{value.shape[1]} is smaller than "
                f"crop_multiple={self.crop_multiple}."
            )
        return value[:height, :width]
