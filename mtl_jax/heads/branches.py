"""What stands between an encoder and the predictions of a branched network.

That is a neck, which all tasks share, if there is one, and what every task has to itself, by the
decoder's name.
"""

import sys
from collections.abc import Mapping

from jax.typing import DTypeLike

from mtl_jax import _options, encoders
from mtl_jax.errors import ConfigError
from mtl_jax.heads import (
    deeplabv3,
    deeplabv3plus,
    dpt,
    high_resolution,
    linear,
    simple_pyramid,
    top_down,
)


def _check_heads(value) -> str | None:
    is_section = isinstance(value, Mapping)
    fits = is_section and all(isinstance(source, str) and source for source in value.values())
    return None if fits else "{task: path or name of a head's weights}"


# A decoder `NEEDS` one of what encoders give: 'last', 'skip', 'strides' or 'tokens'.
_MODULES = {
    "deeplabv3plus": deeplabv3plus,
    "deeplabv3": deeplabv3,
    "top_down": top_down,
    "high_resolution": high_resolution,
    "dpt": dpt,
    "linear": linear,
}
# Of which there are released heads.
_RELEASED = ("dpt", "linear")
NECKS = ("none", "simple_pyramid")
_NEEDED = {
    "skip": "early features, at stride 4, beside the last",
    "strides": "features of several strides",
    "tokens": "the tokens of a vision transformer",
}
NECK = {
    "neck": _options.Option(
        "none",
        "'simple_pyramid' makes strides 4 to 32 of an encoder's last features, for all tasks",
        _options.one_of(*NECKS),
    ),
}
PRETRAINED_HEADS = {
    "pretrained_heads": _options.Option(
        {},
        "{task: .pth file of one of DINOv2's heads, or its name}: weights of a task's decoder",
        _check_heads,
    ),
}
# Of architectures that have a branch for each task; `aspp` is read by 'deeplabv3plus' and
# 'deeplabv3', `se` by the former.
OPTIONS = {
    **deeplabv3plus.OPTIONS,
    "decoder": _options.Part(
        sys.modules[__name__],
        "deeplabv3plus",
        "each task's decoder: of the last features through an ASPP, of those of every stride, or "
        "of a transformer's tokens",
        only=tuple(_MODULES),
    ),
}

Branch = (
    deeplabv3plus.Branch
    | deeplabv3.Branch
    | top_down.Branch
    | high_resolution.Branch
    | dpt.Branch
    | linear.Branch
)


def declared(name: str) -> _options.Options:
    """The options of the decoder `name`."""
    if name == "deeplabv3plus":
        return deeplabv3plus.OPTIONS["decoder"]
    return _MODULES[name].OPTIONS


def build(options, channels: Mapping[str, int], *, auxiliary: bool = False) -> Branch:
    """The branch of these `OPTIONS`, `options.encoder` and `options.dtype`.

    Args:
      options: of the architecture, which may or may not have `NECK`.
      channels: {task: outputs}.
      auxiliary: whether the architecture has a use for earlier predictions.

    Returns:
      A callable (pyramid, outputs, *, task, train) ─► predictions [B, H, W, outputs] and features
      [B, H, W, channels] at the finest stride that it reads; with `decoder.auxiliary` also earlier
      predictions, of tasks that have some.

    Raises:
      ConfigError: the encoder does not give what the decoder needs; ranges of what is no task; or
        a released head or earlier predictions where there can be none.
    """
    if options.decoder.get("auxiliary", False) and not auxiliary:
        raise ConfigError(
            "config.model.decoder.auxiliary=True adds predictions that this architecture has no "
            "place for; expected config.model.architecture='branched', or auxiliary=False."
        )
    _check_pair(options.encoder.name, options.get("neck"), options.decoder.name)
    if unknown := [task for task in options.decoder.get("ranges", {}) if task not in channels]:
        raise ConfigError(
            f"config.model.decoder.ranges names {', '.join(unknown)}; expected some of the tasks "
            f"{', '.join(channels)}."
        )
    _check_pretrained(options, channels)
    return _MODULES[options.decoder.name].branch(options)


def released(options, task: str) -> tuple[Mapping[str, str], tuple[str, ...]]:
    """What a released head's file calls the layers of a task's decoder, and which are transposed.

    Args:
      options: `config.model`, as `build` has checked it.
      task: one of its `pretrained_heads`.
    """
    return _MODULES[options.decoder.name].released(options, task)


def _check_pretrained(options, channels: Mapping[str, int]) -> None:
    """Raises ConfigError if `pretrained_heads` cannot be what these tasks' decoders start from."""
    for task, source in options.get("pretrained_heads", {}).items():
        key = f"config.model.pretrained_heads.{task}={source!r}"
        if task not in channels:
            raise ConfigError(f"{key}: expected one of the tasks {', '.join(channels)}.")
        if options.decoder.name not in _RELEASED:
            raise ConfigError(
                f"{key}: there are released heads for config.model.decoder.name="
                f"{' and '.join(map(repr, _RELEASED))}, found {options.decoder.name!r}."
            )
        variant = options.encoder.get("variant", "")
        if not variant.startswith("dinov2") or not options.pretrained:
            raise ConfigError(
                f"{key}: DINOv2's heads read the features of its own weights. Expected config."
                "model.encoder.variant='dinov2' and its file or name in config.model.pretrained, "
                f"found variant={variant!r} and pretrained={options.pretrained!r}."
            )
        _MODULES[options.decoder.name].check_released(options, task)


def through_neck(neck: str, pyramid: encoders.Pyramid, dtype: DTypeLike) -> encoders.Pyramid:
    """What decoders read: the encoder's features, or those of the neck of that name.

    To be called within a compact module, of which `neck` becomes a part.
    """
    if neck == "none":
        return pyramid
    return simple_pyramid.SimplePyramid(dtype=dtype, name="neck")(pyramid.last)


def _given(encoder: str, neck: str | None) -> frozenset[str]:
    """What decoders find after this encoder and neck."""
    without = neck in (None, "none")
    return (encoders.gives(encoder) if without else frozenset(("skip", "strides"))) | {"last"}


def _check_pair(encoder: str, neck: str | None, decoder: str) -> None:
    """Raises ConfigError, which says what goes with what, if these do not go together.

    Args:
      encoder, decoder: their names.
      neck: its name, 'none', or None where the architecture has no place for one.
    """
    need = _MODULES[decoder].NEEDS
    if need in _given(encoder, neck):
        return
    others = [name for name in encoders.PART.names() if need in _given(name, neck)]
    fitting = [name for name, m in _MODULES.items() if m.NEEDS in _given(encoder, neck)]
    with_neck = [name for name, m in _MODULES.items() if m.NEEDS in _given(encoder, NECKS[1])]
    found = f"config.model.encoder.name={encoder!r}"
    found += "" if neck in (None, "none") else f" with config.model.neck={neck!r}"
    necks = ""
    if neck is not None:
        necks = f", and with config.model.neck='simple_pyramid' with {', '.join(with_neck)}"
    raise ConfigError(
        f"config.model.decoder.name={decoder!r} needs {_NEEDED[need]}, and {found} does not give "
        f"them. {decoder!r} goes with {', '.join(others) or 'no encoder that has a neck'}; "
        f"{encoder!r} goes with the decoders {', '.join(fitting)}{necks}."
    )
