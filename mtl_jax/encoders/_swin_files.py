"""Published files of Swin transformers, in three publishers' naming.

The authors' files have a stage's merging at its end, timm's at the beginning of the next stage, and
torchvision's count everything in one list. All become the authors'; see `encoders.Published`.
"""

import re
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from mtl_jax.layers import positions

Arrays = Mapping[str, np.ndarray]

_WIDTHS = {96: "T or S", 128: "B", 192: "L"}
_TABLE = "relative_position_bias_table"
_STAGE_NORMS = ("norm0", "norm1", "norm2")


def layer(name: str) -> str | None:
    """'encoder/layers_2/blocks_5/attn/qkv' ─► 'layers.2.blocks.5.attn.qkv'.

    None outside the encoder, and for the norms of the first three stages, which no file has.
    """
    name = name.removeprefix("encoder/") if name.startswith("encoder/") else ""
    if not name or name in _STAGE_NORMS:
        return None
    return re.sub(r"(layers|blocks)_(\d+)", r"\1.\2", name).replace("/", ".")


def translate(arrays: Arrays) -> dict[str, np.ndarray]:
    """All arrays of a file by the authors' names."""
    if any(name.startswith("features.") for name in arrays):
        return {_from_torchvision(name): array for name, array in arrays.items()}
    if "layers.3.downsample.reduction.weight" in arrays:  # timm's
        return {
            re.sub(r"^layers\.(\d)\.downsample", _one_stage_before, name): array
            for name, array in arrays.items()
        }
    return dict(arrays)


def describe(arrays: Arrays) -> str:
    """Which options of the encoder a file fits, as far as its arrays tell; '' if they do not."""
    norm, table = (
        arrays.get("patch_embed.norm.weight"),
        arrays.get(f"layers.0.blocks.0.attn.{_TABLE}"),
    )
    size = _WIDTHS.get(len(norm)) if norm is not None and norm.ndim == 1 else None
    if size is None or table is None or table.ndim != 2:
        return ""
    if size == "T or S":
        size = "S" if "layers.2.blocks.17.norm1.weight" in arrays else "T"
    window = (round(len(table) ** 0.5) + 1) // 2
    return f"The file is of config.model.encoder.size={size!r} and .window={window}."


def resample(name: str, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A table of relative positions for windows of another side, by cubic interpolation.

    Whatever is not such a table, or of the right shape, is returned as it is.
    """
    if not name.endswith(f"/{_TABLE}") or array.ndim != 2 or array.shape == shape:
        return array
    old, new = (round(n**0.5) for n in (len(array), shape[0]))
    if old * old != len(array):
        return array
    return np.asarray(positions.resample(jnp.asarray(array), (old, old), (new, new), "plain"))


def _one_stage_before(match: re.Match) -> str:
    return f"layers.{int(match[1]) - 1}.downsample"


def _from_torchvision(name: str) -> str:
    """'features.3.1.mlp.0.weight' ─► 'layers.1.blocks.1.mlp.fc1.weight'."""
    name = name.replace(".mlp.0.", ".mlp.fc1.").replace(".mlp.3.", ".mlp.fc2.")
    name = re.sub(r"^features\.0\.0\.", "patch_embed.proj.", name)
    name = re.sub(r"^features\.0\.2\.", "patch_embed.norm.", name)
    found = re.match(r"features\.(\d+)\.(.*)", name)
    if not found:
        return name
    place, rest = int(found[1]), found[2]
    if place % 2:
        return f"layers.{place // 2}.blocks.{rest}"
    return f"layers.{place // 2 - 1}.downsample.{rest}"
