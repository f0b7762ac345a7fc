"""Learning rates that fall towards a transformer's input (ELECTRA, Clark et al. 2020; BEiT, 2022).

The embeddings have number 0, block i, from 0, number i + 1, and everything after the L blocks, what
is not the encoder included, L + 1; number n learns at rate · decay^(L + 1 − n). Of Swin, blocks are
counted over all stages, and a merging has the number of the stage's first block that follows.
"""

import re
from typing import Any

import jax
import optax

from mtl_jax.errors import ConfigError
from mtl_jax.optimizers.groups import is_encoder, names_of

# What is before the first block.
_EMBEDDINGS = ("patch_embed", "cls_token", "pos_embed", "register_tokens", "mask_token")
_EMBEDDINGS += ("task_prompts",)


def scale_by_layer(decay: float) -> optax.GradientTransformation:
    """Multiplies each parameter's update by decay^(L + 1 − its layer's number).

    Its update raises ConfigError if an encoder has no blocks.
    """

    def update(updates, state, params=None):
        del params
        factors = layer_factors(updates, decay)
        return jax.tree.map(lambda value, factor: value * factor, updates, factors), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def layer_factors(params: Any, decay: float) -> Any:
    """A tree like `params`, {'model': ..., 'weighting': ...}, of factors.

    Raises:
      ConfigError: an encoder has no blocks.
    """
    paths = [names_of(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    inside = [names for names in paths if names[0] == "model" and is_encoder(names[1])]
    blocks = {
        encoder: sorted({_block(names[2:]) for names in inside if names[1] == encoder} - {None})
        for encoder in {names[1] for names in inside}
    }
    if without := sorted(encoder for encoder, found in blocks.items() if not found):
        raise ConfigError(
            f"config.optimizer.layer_decay={decay}: {', '.join(without)} has no transformer "
            "blocks to count layers by. Choose 1.0, or an encoder that has, such as vit or swin; "
            "encoder_scale is a factor for any."
        )

    def factor(path, _) -> float:
        names = names_of(path)
        if names[0] != "model" or names[1] not in blocks:
            return 1.0
        found = blocks[names[1]]
        return decay ** (len(found) + 1 - _number(names[2:], found))

    return jax.tree_util.tree_map_with_path(factor, params)


def _number(names: list[str], blocks: list[tuple[int, int]]) -> int:
    """0 of embeddings, i + 1 of block i, len(blocks) + 1 of what comes after."""
    if names[0] in _EMBEDDINGS:
        return 0
    block = _block(names)
    if block is None and "downsample" in names:
        block = (int(names[0].rpartition("_")[2]) + 1, 0)
    return len(blocks) + 1 if block is None else blocks.index(block) + 1


def _block(names: list[str]) -> tuple[int, int] | None:
    """(stage, block within it) of 'blocks_3/…', stage 0, or of 'layers_1/blocks_3/…'."""
    found = re.match(r"(?:layers_(\d+)/)?blocks_(\d+)(?:/|$)", "/".join(names))
    return (int(found[1] or 0), int(found[2])) if found else None
