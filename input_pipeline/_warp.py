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
        rows, columns = fixed_point(matrix, size)
        limits = [_limits(*parts) for parts in zip(rows, columns)]
        # Does every output pixel show one of the input?
        self._covers = all(
            least >= 0 and greatest >> FRACTION_BITS < side
            for (least, greatest), side in zip(limits, source[::-1])
        )
        if all(least >= -(2**31) and greatest < 2**31 for least, greatest in limits):
            self._pixels = _pixels(rows, columns)
        else:
            sums = np.stack([np.add.outer(*parts) for parts in zip(rows, columns)], axis=-1)
            self._pixels = np.clip(sums >> FRACTION_BITS, -1, LARGEST_SIDE).astype(np.int16)

    @functools.cached_property
    def _inside(self) -> np.ndarray:
        """uint8 [h, w], not 0 where an output pixel shows one of the input."""
        height, width = self._source
        return cv2.inRange(self._pixels, (0, 0), (width - 1, height - 1))

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
        matrix = self._matrix.copy()
        matrix[:, 2] += matrix[:, :2].sum(axis=1) / 2 - 0.5

        def interpolate(planes):
            three = planes.ndim == 3 and planes.shape[2] == 3
            if three:  # which takes twice as long as four
                planes = cv2.cvtColor(planes, cv2.COLOR_RGB2RGBA)
            flags, replicate = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, cv2.BORDER_REPLICATE
            found = cv2.warpAffine(planes, matrix, self._size[::-1], None, flags, replicate)
            return cv2.cvtColor(found, cv2.COLOR_RGBA2RGB) if three else found

        found = _by_channels(interpolate, value)
        if self._covers:
            return found
        result = np.full((*self._size, *value.shape[2:]), fill, value.dtype)
        return cv2.copyTo(found, self._inside, result)


def _limits(row_part: np.ndarray, column_part: np.ndarray) -> tuple[int, int]:
    """The least and the greatest of all sums of two; both parts rise or fall all along."""
    ends = [sorted((int(part[0]), int(part[-1]))) for part in (row_part, column_part)]
    return ends[0][0] + ends[1][0], ends[0][1] + ends[1][1]


def _pixels(rows: tuple[np.ndarray, ...], columns: tuple[np.ndarray, ...]) -> np.ndarray:
    """int16 [h, w, 2], the pixels (x, y) of coordinates that fit into 32 bits of fixed point.

    A pixel is the upper half of its coordinate: both are put into one number, and none is cast.
    """
    x, y = (np.add.outer(*map(np.int32, parts)) for parts in zip(rows, columns))
    unsigned = x.view(np.uint32)
    unsigned >>= FRACTION_BITS  # in place, and no sign comes in from above
    y &= -1 << FRACTION_BITS
    y |= x
    return y.view("<i2").reshape(*y.shape, 2)


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
