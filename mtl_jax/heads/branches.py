"""What every task of a branched network has to itself, by the decoder's name."""

import sys

from mtl_jax import _options
from mtl_jax.heads import deeplabv3plus, top_down

_MODULES = {"deeplabv3plus": deeplabv3plus, "top_down": top_down}
# Of architectures that have a branch for each task; `aspp` and `se` are read by 'deeplabv3plus'.
OPTIONS = {
    **deeplabv3plus.OPTIONS,
    "decoder": _options.Part(
        sys.modules[__name__],
        "deeplabv3plus",
        "each task's decoder: of an ASPP's features and early ones, or of those of every stride",
        only=tuple(_MODULES),
    ),
}

Branch = deeplabv3plus.Branch | top_down.Branch


def declared(name: str) -> _options.Options:
    """The options of the decoder `name`."""
    if name == "deeplabv3plus":
        return deeplabv3plus.OPTIONS["decoder"]
    return top_down.OPTIONS


def build(options) -> Branch:
    """The branch of these `OPTIONS` and `options.dtype`.

    Returns:
      A callable (pyramid, outputs, *, task, train) ─► predictions [B, H, W, outputs] and features
      [B, H, W, channels] at the finest stride that it reads.
    """
    return _MODULES[options.decoder.name].branch(options)
