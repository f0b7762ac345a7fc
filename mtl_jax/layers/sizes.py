"""Which sizes of images a network takes: what its parts say of themselves, put together.

A module that takes images of certain sizes only says so by an attribute or property:

  `size_multiple`  both sides have to be multiples of it, e.g. 14, DINOv2's patches;
  `image_size`     (H, W), the only size that it takes, as it has layers over all positions.

What says neither takes any size. Layers that a network has and nothing reads, because published
files have them, are in `unread`: {end of the parameter's path: why}.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

from mtl_jax.errors import ConfigError, UsageError

# What images are padded to for networks that take any size: the largest stride of most.
PADDING = 32


@dataclasses.dataclass(frozen=True)
class ImageSizes:
    """The images that a network takes.

    Attributes:
      multiple: what both sides are multiples of.
      only: (H, W), where it takes one size alone; None = any such multiples.
    """

    multiple: int = 1
    only: tuple[int, int] | None = None

    @property
    def padding(self) -> int:
        """What sides are padded to multiples of: `multiple`, or 32 where every size will do."""
        return self.multiple if self.multiple > 1 else PADDING

    def padded(self, size: tuple[int, int]) -> tuple[int, int]:
        """(H, W) to which an image of `size` is padded.

        Raises:
          UsageError: it is larger than the one size that the network takes.
        """
        if self.only is None:
            return self.at_least(size, self.padding)
        if size[0] > self.only[0] or size[1] > self.only[1]:
            raise UsageError(
                f"This network takes images of {_by(self.only)} pixels alone, as it has layers over"
                f" all positions, and here is one of {_by(size)}. Larger images can be cut into "
                "tiles (--mode=predict does so), shrunk (config.predict.max_size), or cut "
                f"(config.eval.image_size={self.only})."
            )
        return self.only

    def fitting(self, size: tuple[int, int]) -> tuple[int, int]:
        """The smallest size that the network takes whose sides are at least those of `size`."""
        return self.only or self.at_least(size, self.multiple)

    @staticmethod
    def at_least(size: tuple[int, int], multiple: int) -> tuple[int, int]:
        """`size`, each side rounded up to a multiple."""
        height, width = (-(-side // multiple) * multiple for side in size)
        return height, width

    def check(self, size: tuple[int, int], *, where: str) -> None:
        """Refuses a size of training images, which are not padded.

        Args:
          size: (H, W).
          where: where it came from, for the error, e.g. 'config.data.augment.crop=(96, 100)'.

        Raises:
          ConfigError: the network does not take it; the message has the nearest that it takes.
        """
        size = tuple(int(side) for side in size)
        if self.only is not None and size != self.only:
            raise ConfigError(
                f"{where}: this network takes images of {_by(self.only)} pixels alone, as it has "
                f"layers over all positions. Set config.data.augment.crop={self.only}."
            )
        nearest = []
        for side in size:
            if side % self.multiple:
                lower = side // self.multiple * self.multiple
                above = lower + self.multiple
                nearest.append(f"{side}: {lower} or {above}" if lower else f"{side}: {above}")
        if nearest:
            raise ConfigError(
                f"{where}: this network takes images whose sides are multiples of {self.multiple}; "
                f"nearest to {', to '.join(dict.fromkeys(nearest))}. Set config.data.augment.crop."
            )


def image_sizes(network: Any) -> ImageSizes:
    """What all parts of a network take.

    Args:
      network: an architecture or encoder; its parts are found among its attributes.

    Raises:
      ConfigError: two parts take one size each, and not the same, or one that the others do not.
    """
    found = list(parts(network))
    multiple = math.lcm(*(getattr(part, "size_multiple", 1) for part in found))
    only = {tuple(size) for part in found if (size := getattr(part, "image_size", None))}
    if len(only) > 1 or any(side % multiple for size in only for side in size):
        raise ConfigError(
            f"Parts of this network take images of {' and of '.join(map(_by, sorted(only)))} alone,"
            f" and both sides have to be multiples of {multiple}; no image fits."
        )
    return ImageSizes(multiple, only.pop() if only else None)


def unread(network: Any) -> dict[str, str]:
    """{end of a parameter's path: why nothing reads it} of all parts of a network."""
    return {end: why for part in parts(network) for end, why in getattr(part, "unread", {}).items()}


def parts(value: Any) -> Iterator[Any]:
    """A network and, at any depth, the modules and dataclasses that are its attributes."""
    if isinstance(value, Mapping):
        value = tuple(value.values())
    if isinstance(value, tuple | list):
        for item in value:
            yield from parts(item)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield value
        for field in dataclasses.fields(value):
            if field.name not in ("parent", "name"):  # Linen's own, the first leads back up
                yield from parts(getattr(value, field.name, None))


def _by(size: tuple[int, ...]) -> str:
    return "×".join(map(str, size))
