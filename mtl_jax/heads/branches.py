"""What every task of a branched network has to itself, by the decoder's name."""

import sys

from mtl_jax import _options
from mtl_jax.heads import deeplabv3, deeplabv3plus, high_resolution, top_down

_MODULES = {
    "deeplabv3plus": deeplabv3plus,
    "deeplabv3": deeplabv3,
    "top_down": top_down,
    "high_resolution": high_resolution,
}
# Of architectures that have a branch for each task; `aspp` is read by 'deeplabv3plus' and
# 'deeplabv3', `se` by the former.
OPTIONS = {
    **deeplabv3plus.OPTIONS,
    "decoder": _options.Part(
        sys.modules[__name__],
        "deeplabv3plus",
        "each task's decoder, of the last features through an ASPP or of those of every stride",
        only=tuple(_MODULES),
    ),
}

Branch = deeplabv3plus.Branch | deeplabv3.Branch | top_down.Branch | high_resolution.Branch


def declared(name: str) -> _options.Options:
    """The options of the decoder `name`."""
    if name == "deeplabv3plus":
        return deeplabv3plus.OPTIONS["decoder"]
    return _MODULES[name].OPTIONS


def build(options) -> Branch:
    """The branch of these `OPTIONS` and `options.dtype`.

    Returns:
      A callable (pyramid, outputs, *, task, train) ─► predictions [B, H, W, outputs] and features
      [B, H, W, channels] at the finest stride that it reads.
    """
    return _MODULES[options.decoder.name].branch(options)
