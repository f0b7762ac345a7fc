"""Published files of vision transformers, in three publishers' naming.

timm's and DINOv2's `.pth` and `.safetensors` have PyTorch's names; Google's `.npz` have Flax's, of
an older version, with a kernel for each of query, key and value, cut into heads. All become what
DINOv2's files have, which `layer` names; see `encoders.Published`.
"""

import math
import re
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from mtl_jax.layers import positions

Arrays = Mapping[str, np.ndarray]

_GOOGLE = "Transformer/encoderblock_"
# In a block of Google's ─► ours, in PyTorch's names.
_GOOGLE_LAYERS = {
    "LayerNorm_0": "norm1",
    "LayerNorm_2": "norm2",
    "MlpBlock_3/Dense_0": "mlp.fc1",
    "MlpBlock_3/Dense_1": "mlp.fc2",
    "MultiHeadDotProductAttention_1/out": "attn.proj",
}
_GOOGLE_OUTSIDE = {
    "embedding": "patch_embed.proj",
    "Transformer/encoder_norm": "norm",
    "head": "head",
    "pre_logits": "pre_logits.fc",
}
_GOOGLE_TOP = {"cls": "cls_token", "Transformer/posembed_input/pos_embedding": "pos_embed"}
_GOOGLE_LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias"}
_WIDTHS = {192: "T", 384: "S", 768: "B", 1024: "L"}
# TaskPrompter's own, within a block.
_OF_PROMPTS = ("/attn/token_trans", "/attn/token_trans1")


def layer(name: str) -> str | None:
    """'encoder/blocks_3/attn/qkv' ─► 'blocks.3.attn.qkv'.

    None outside the encoder, and for what prompts have beside a plain transformer.
    """
    if name == "encoder":
        return ""
    if not name.startswith("encoder/") or name.endswith(_OF_PROMPTS):
        return None
    name = name.removeprefix("encoder/")
    if name == "patch_embed":
        return "patch_embed.proj"
    return re.sub(r"^blocks_(\d+)/", r"blocks.\1.", name).replace("/", ".")


def translate(arrays: Arrays) -> dict[str, np.ndarray]:
    """All arrays of a file by the names of DINOv2's files."""
    if any(name.removeprefix("opt/target/").startswith(_GOOGLE) for name in arrays):
        return _from_google(arrays)
    # Checkpoints of training have the heads of training beside the `backbone`, and chunks of
    # blocks: blocks.0.7 is the seventh.
    found = {n.removeprefix("backbone."): a for n, a in arrays.items()}
    found = {re.sub(r"^blocks\.\d+\.(\d+\.)", r"blocks.\1", n): a for n, a in found.items()}
    if "reg_token" in found:
        found = _from_timm_with_registers(found)
    if "blocks.0.ls1.gamma" in found and "cls_token" in found:
        # timm leaves the token out that nothing reads.
        found.setdefault("mask_token", np.zeros((1, found["cls_token"].shape[-1]), np.float32))
    return found


def describe(arrays: Arrays) -> str:
    """Which options of the encoder a file fits, as far as its arrays tell; '' if they do not."""
    if any(name.startswith("decode_head.") for name in arrays):
        return (
            "The file is of a head, config.model.pretrained_heads.<task>; the encoder's own file "
            "is config.model.pretrained."
        )
    norm, table = arrays.get("norm.weight"), arrays.get("pos_embed")
    size = _WIDTHS.get(len(norm)) if norm is not None and norm.ndim == 1 else None
    if size is None or table is None or table.ndim != 3:
        return ""
    variant = "augreg"
    if "blocks.0.ls1.gamma" in arrays:
        variant = "dinov2_reg" if "register_tokens" in arrays else "dinov2"
    side = math.isqrt(max(table.shape[1] - 1, 0))
    return (
        f"The file is of config.model.encoder.size={size!r}, .variant={variant!r} and a table of "
        f"{side}×{side} positions."
    )


def resample(
    name: str, array: np.ndarray, shape: tuple[int, ...], grid: tuple[int, int], rule: str
) -> np.ndarray:
    """A square table of positions for `grid`, its first row, the class token's, kept.

    Whatever is not such a table, or of the right shape, is returned as it is.
    """
    rows = array.shape[1] - 1 if array.ndim == 3 else 0
    side = math.isqrt(max(rows, 0))
    fits = side > 0 and (array.shape[0], array.shape[2]) == (shape[0], shape[-1])
    if name != "encoder/pos_embed" or array.shape == shape or not fits or side * side != rows:
        return array
    table = positions.resample(jnp.asarray(array[0, 1:]), (side, side), grid, rule)
    return np.concatenate([array[:, :1], np.asarray(table)[None]], axis=1)


def _from_timm_with_registers(arrays: Arrays) -> dict[str, np.ndarray]:
    """timm has the first row of positions in `cls_token` already, and rows for patches alone."""
    found = dict(arrays)
    found["register_tokens"] = found.pop("reg_token")
    table = found.get("pos_embed")
    if table is not None and table.ndim == 3:
        found["pos_embed"] = np.pad(table, ((0, 0), (1, 0), (0, 0)))
    return found


def _from_google(arrays: Arrays) -> dict[str, np.ndarray]:
    """What has no known name, or not its number of axes, keeps its name."""
    arrays = {name.removeprefix("opt/target/"): array for name, array in arrays.items()}
    found, attention = {}, {}
    for name, array in arrays.items():
        block, part, leaf = _google_parts(name)
        if part in ("query", "key", "value") and leaf in ("weight", "bias"):
            attention.setdefault((block, leaf), {})[part] = (name, array)
        elif part is None:
            found[_GOOGLE_TOP.get(name, name)] = array
        else:
            prefix = f"blocks.{block}." if block else ""
            found[f"{prefix}{part}.{leaf}"] = _google_array(part, leaf, array)
    for (block, leaf), parts in attention.items():
        axes = 3 if leaf == "weight" else 2
        if len(parts) < 3 or any(array.ndim != axes for _, array in parts.values()):
            found |= dict(parts.values())
            continue
        each = [parts[part][1] for part in ("query", "key", "value")]
        # [c, heads, d] ─► [heads·d, c], and [heads, d] ─► [heads·d].
        each = [a.reshape(len(a), -1).T if leaf == "weight" else a.ravel() for a in each]
        found[f"blocks.{block}.attn.qkv.{leaf}"] = np.concatenate(each)
    return found


def _google_parts(name: str) -> tuple[str, str | None, str]:
    """(block or '', layer in PyTorch's names or 'query', 'key', 'value', leaf); None = unknown."""
    path, _, leaf = name.rpartition("/")
    leaf = _GOOGLE_LEAVES.get(leaf, "")
    if not name.startswith(_GOOGLE):
        return "", _GOOGLE_OUTSIDE.get(path) if leaf else None, leaf
    block, _, inside = path.removeprefix(_GOOGLE).partition("/")
    projection = inside.removeprefix("MultiHeadDotProductAttention_1/")
    if projection in ("query", "key", "value") and projection != inside:
        return block, projection, leaf
    return block, _GOOGLE_LAYERS.get(inside) if leaf else None, leaf


def _google_array(part: str, leaf: str, array: np.ndarray) -> np.ndarray:
    """Flax's kernels in PyTorch's layout: [h, w, i, o] ─► [o, i, h, w], [heads, d, o] and [i, o]
    ─► [o, i]."""
    if leaf != "weight" or array.ndim < 2:
        return array
    if part == "patch_embed.proj":
        return np.moveaxis(array, (-1, -2), (0, 1))
    return array.reshape(-1, array.shape[-1]).T
