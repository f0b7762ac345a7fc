"""Options of low-rank updates, which all transformers have alike."""

from mtl_jax._options import Option, number, rate, truth, whole
from mtl_jax.layers import transformer

LOW_RANK = {
    "lora_rank": Option(0, "of updates of the attention's projections; 0 = none", whole(least=0)),
    "lora_alpha": Option(16.0, "of the updates, which are scaled by alpha / rank", number(above=0)),
    "lora_mlp": Option(False, "updates of both layers of every MLP too", truth),
    "lora_dropout": Option(
        0.0, "share of what the updates read that training drops; 0 to 0.1 is usual", rate
    ),
}


def low_rank(options) -> transformer.LowRank:
    """What these `LOW_RANK` options mean."""
    return transformer.LowRank(
        options.lora_rank, options.lora_alpha, options.lora_mlp, options.lora_dropout
    )
