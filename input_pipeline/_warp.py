"""An affine map from output to input pixels, applied to arrays by OpenCV: one gather for each.

Coordinates are those of `transforms.fixed_point`, so that the nearest neighbour is that of exact
arithmetic but where a point comes closer than 2⁻¹⁶ of a pixel to the border between two; all
arrays of an example show the same pixels.
"""

import functools

import cv2
import numpy as np

from input_pipeline.errors import DatasetError
from input_pipeline.transforms import FRACTION_BITS, fixed_point

# An example has a core to itself; threads of OpenCV's own would only be in each other's way.
cv2.setNumThreads(0)

LARGEST_SIDE = 32766  # OpenCV keeps positions in 16 bits
# Numbers of channels that OpenCV interpolates in float32; others in steps of 1/32 of a pixel.
_CHANNELS = (4, 3, 1)


class Warp:
    """One map, worked out once and applied to every array of an example."""

    def __init__(self, matrix: np.ndarray, source: tuple[int, int], size: tuple[int, int]):
        """Works out which input pixel every output pixel shows.

        Args:
          matrix: [2, 3], from output (x, y, 1) to input (x, y).
          source: height and width of the input.
          size: height and width of the output.

        Raises:
          DatasetError: a side is longer than `LARGEST_SIDE`.
        """
        if max(*source, *size) > LARGEST_SIDE:
            raise DatasetError(
                f"an array of {source[0]}×{source[1]} is to become one of {size[0]}×{size[1]}; "
                f"expected sides of at most {LARGEST_SIDE} pixels where arrays are warped."
            )
        self._matrix, self._source, self._size = matrix, source, size
        self._pixels = np.empty((*size, 2), np.int16)
        self._covers = True  # does every output pixel show one of the input?
        for axis, (rows, columns) in enumerate(zip(*fixed_point(matrix, size))):
            least, greatest = rows.min() + columns.min(), rows.max() + columns.max()
            self._covers &= bool(least >= 0 and greatest >> FRACTION_BITS < source[1 - axis])
            if least >= -(2**31) and greatest < 2**31:  # the pixels, then, fit into 16 bits
                pixels = np.add.outer(rows.astype(np.int32), columns.astype(np.int32))
                pixels >>= FRACTION_BITS
            else:
                pixels = np.add.outer(rows, columns) >> FRACTION_BITS
                np.clip(pixels, -1, LARGEST_SIDE, out=pixels)
            self._pixels[..., axis] = pixels

    @functools.cached_property
    def outside(self) -> np.ndarray | None:
        """uint8 [h, w], 1 where an output pixel shows none of the input; None if there is none."""
        if self._covers:
            return None
        return self.nearest(np.zeros(self._source, np.uint8), 1)

    def nearest(self, value: np.ndarray, fill: float) -> np.ndarray:
        """The nearest pixel of [H, W] or [H, W, C]; `fill` outside."""

        def gather(planes):
            border = (float(fill),) * 4
            constant = cv2.BORDER_CONSTANT
            return cv2.remap(planes, self._pixels, None, cv2.INTER_NEAREST, None, constant, border)

        return _by_channels(gather, value)

    def bilinear(self, value: np.ndarray, fill: float) -> np.ndarray:
        """Between the four nearest pixels of [H, W] or [H, W, C]; grey levels are rounded.

        The last pixels go on beyond their centres, up to the frame, where `fill` begins.
        """
        # OpenCV counts from the centre of the first pixel.
        linear = self._matrix[:, :2]
        matrix = np.column_stack([linear, self._matrix[:, 2] + linear.sum(axis=1) / 2 - 0.5])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP

        def interpolate(planes):
            size, replicate = self._size[::-1], cv2.BORDER_REPLICATE
            return cv2.warpAffine(planes, matrix, size, None, flags, replicate)

        result = _by_channels(interpolate, value)
        if self.outside is not None:
            cv2.copyTo(np.full_like(result, fill), self.outside, result)
        return result


def _by_channels(change, value: np.ndarray) -> np.ndarray:
    """Applies `change` to [H, W] or [H, W, C], to as many channels at once as are exact."""
    if value.ndim == 2:
        return change(np.ascontiguousarray(value))
    parts, start = [], 0
    while start < value.shape[2]:
        width = next(n for n in _CHANNELS if n <= value.shape[2] - start)
        part = change(np.ascontiguousarray(value[..., start : start + width]))
        parts.append(part if part.ndim == 3 else part[..., None])
        start += width
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)
