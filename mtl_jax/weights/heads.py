"""DINOv2's released heads (Oquab et al. 2024): a file for each, of one task, without the encoder.

Names and layouts are those of the decoders' modules, in their `released`; see
`mtl_jax.weights.released`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mtl_jax.heads import branches
from mtl_jax.train_state import TrainState
from mtl_jax.weights import plain_files, published, released
from mtl_jax.weights._replacing import with_arrays
from mtl_jax.weights.published import PretrainedError

_FOLDER = "https://dl.fbaipublicfiles.com/dinov2/"
_KINDS = tuple(
    f"{data}_{kind}"
    for datas, kinds in (
        (("nyu", "kitti"), ("dpt", "linear", "linear4")),
        (("ade20k", "voc2012"), ("linear", "ms")),
    )
    for data in datas
    for kind in kinds
)
# {name: address}; all Apache-2.0.
ADDRESSES = {
    f"dinov2_vit{size}14_{kind}_head": f"{_FOLDER}dinov2_vit{size}14/"
    f"dinov2_vit{size}14_{kind}_head.pth"
    for size in "sbl"
    for kind in _KINDS
}
_WIDTHS = {384: "S", 768: "B", 1024: "L"}


def load(
    state: TrainState, files: Mapping[str, str], config: Any, *, report: Callable[[str], None]
) -> TrainState:
    """Replaces the layers of some tasks' decoders by released ones.

    Args:
      state: before the first step.
      files: {task: path of a file, or one of `ADDRESSES`}, as `branches.build` has checked.
      config: `config.model`.
      report: called with what was loaded.

    Raises:
      PretrainedError: a file is not to be had or damaged, or is of another head.
    """
    variables = state.variables
    new = {}
    for task, source in files.items():
        new |= _of_one(variables, task, source, config, report)
    return with_arrays(state, new, _name)


def _of_one(
    variables: Mapping, task: str, source: str, config: Any, report: Callable[[str], None]
) -> dict[str, np.ndarray]:
    """{our name: array} of one task."""
    path = Path(source).expanduser()
    if not path.is_file():
        if source not in ADDRESSES:
            raise PretrainedError(
                f"config.model.pretrained_heads.{task}={source!r}: there is no such file, and "
                f"published heads are named {', '.join(ADDRESSES)}."
            )
        path = plain_files.fetch(ADDRESSES[source], report)
    decoder = f"decoder_{task}/"
    wanted = {}
    for key, leaf in jax.tree_util.tree_leaves_with_path(variables):
        collection, _, rest = _name(key).partition("/")
        if rest.startswith(decoder):
            wanted[f"{collection}/{rest.removeprefix(decoder)}"] = leaf
    found = published.read(path)
    match = released.match(wanted, found, *branches.released(config, task))
    if match.wrong:
        described = _describe(found)
        raise PretrainedError(
            f"config.model.pretrained_heads.{task}: {path} is not of the decoder of {task!r} that "
            f"config.model describes; {match.differences}" + (f"\n{described}" if described else "")
        )
    report(f"Loaded all {len(match.arrays)} arrays of {decoder[:-1]} from {path}.")
    return {
        f"{collection}/{decoder}{rest}": array
        for name, array in match.arrays.items()
        for collection, _, rest in [name.partition("/")]
    }


def _describe(found: Mapping[str, np.ndarray]) -> str:
    """Which options a file of DINOv2 fits; '' if it is none."""
    readout = found.get("decode_head.reassemble_blocks.readout_projects.0.0.weight")
    classes, bins = (found.get(f"decode_head.conv_{kind}.weight") for kind in ("seg", "depth"))
    if readout is not None:
        return _fits(len(readout), "a DPT head for depth", "name='dpt' with a range")
    for scores, tokens, what, taps in (
        (classes, 1, "{} classes", "last"),
        (bins, 2, "{} bins of depth, so with a range", "even"),
    ):
        if scores is None or scores.ndim != 4:
            continue
        what = f"a linear head of {what.format(len(scores))}"
        for number, options in ((1, "layers='last'"), (4, f"layers='all', encoder.taps={taps!r}")):
            width, rest = divmod(scores.shape[1], number * tokens)
            if not rest and width in _WIDTHS:
                return _fits(width, what, f"name='linear', .{options}")
    return ""


def _fits(width: int, what: str, options: str) -> str:
    return (
        f"The file is {what}, for config.model.encoder.size={_WIDTHS.get(width, '?')!r} and "
        f"config.model.decoder.{options}."
    )


def _name(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
