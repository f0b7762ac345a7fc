"""Update rules: gradients ─► steps, one module each, with the conventions of the reports.

A module has `OPTIONS` and `build(options, decay)`, which returns the optax transformations to be
chained. `decay` adds weight_decay · parameter: placed before the moments it is the *coupled* L2
form of PyTorch's SGD and Adam, after them it is decoupled.
"""

import sys
from collections.abc import Mapping
from typing import Any

import optax
from ml_collections import ConfigDict

from mtl_jax import _discovery, _options
from mtl_jax._options import Option, number, truth

COMMON = {
    "weight_decay": Option(1e-4, "of the model's parameters, not a weighting's", number(least=0)),
    "decay_vectors": Option(
        True,
        "weight decay of biases, normalisations, tokens and tables of positions too",
        truth,
    ),
    "encoder_scale": Option(
        1.0, "the encoder's learning rate as a multiple of the others'", number(least=0)
    ),
    "layer_decay": Option(
        1.0,
        "rate of each block of a transformer as a share of the next one's; 1 = all alike",
        number(above=0, most=1),
    ),
    "bias_scale": Option(
        0.0, "rate of new layers' biases in encoder rates; 0 = as their kernels", number(least=0)
    ),
    "weighting_scale": Option(
        1.0, "rate of what a weighting learns, as a multiple of the others'", number(least=0)
    ),
    "clip_norm": Option(0.0, "the gradient's global norm at most; 0 = off", number(least=0)),
    "images_per_update": Option(
        {}, "images of 'common' and of each task per update; {} = update after every batch"
    ),
}
PART = _options.Part(sys.modules[__name__], "sgd", "how gradients become steps")
_KEY = "config.optimizer"


def build(
    config: Mapping[str, Any], decay: optax.GradientTransformation
) -> tuple[optax.GradientTransformation, ...]:
    """Moments and weight decay, in the order of the rule that `config["name"]` names.

    Raises:
      ConfigError: no rule has that name, or an option is unknown or impossible.
    """
    options = _options.complete_part(config, PART, key=_KEY)
    module = _discovery.load(sys.modules[__name__], options.pop(PART.by), key=f"{_KEY}.{PART.by}")
    return module.build(ConfigDict(options), decay)
