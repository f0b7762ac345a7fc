"""DINOv2's linear heads (Oquab et al. 2024): what frozen features say with one layer."""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from mtl_jax import _options, encoders, layers
from mtl_jax._options import Option, one_of, rate
from mtl_jax.errors import ConfigError
from mtl_jax.layers import broadcast

NEEDS = "tokens"
BINS = 256
ENLARGED = 4  # the depth head enlarges the features by it before its layer


def _check_ranges(value) -> str | None:
    number = _options.number(least=0)
    fits = isinstance(value, Mapping) and all(
        isinstance(pair, tuple) and len(pair) == 2 and not any(map(number, pair))
        for pair in value.values()
    )
    if fits and all(least < greatest for least, greatest in value.values()):
        return None
    return "{task: (least, greatest)} with 0 ≤ least < greatest"


RANGES = Option(
    {},
    "{task: (least, greatest)}: depths that are predicted in their own unit and in that range",
    _check_ranges,
)
OPTIONS = {
    "layers": Option("last", "of tokens: the 'last' or 'all' taps", one_of("last", "all")),
    "dropout": Option(0.0, "of whole channels, before the BatchNorm of class scores", rate),
    "ranges": RANGES,
}


class LinearSegmentation(nn.Module):
    """Normalised layers of tokens side by side ─► BatchNorm ─► 1×1.

    Attributes:
      outputs: K.
      dropout: rate, of whole channels, before the BatchNorm; 0 in DINOv2, 0.1 in DINOv3.
    """

    outputs: int
    dropout: float = 0.0

    @nn.compact
    def __call__(self, patches: list[jax.Array], *, train: bool) -> jax.Array:
        """[B, h, w, C] each ─► [B, h, w, K] float32."""
        x = jnp.concatenate(patches, axis=-1).astype(jnp.float32)
        x = nn.Dropout(self.dropout, broadcast_dims=(1, 2), deterministic=not train)(x)
        x = layers.BatchNorm(name="bn")(x, train=train)
        start = {"kernel_init": "normal", "bias_init": "zeros"}  # DINOv3's: N(0, 0.01²)
        return layers.Conv(self.outputs, 1, use_bias=True, **start, name="score")(x)


class LinearBins(nn.Module):
    """Raw layers of tokens, each beside its class token, ×4 ─► 1×1 ─► the mean of 256 bins.

    A bin's share is (ReLU(z) + 0.1) / Σ; the bins are spread evenly over [least, greatest], both
    ends included, so the value is in that range.

    Attributes:
      least, greatest: of the values, in their unit.
      dtype: compute type of the layer.
    """

    least: float
    greatest: float
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, patches: list[jax.Array], class_tokens: list[jax.Array]) -> jax.Array:
        """[B, h, w, C], [B, C] each ─► [B, 4h, 4w, 1] float32."""
        each = []
        for map_, token in zip(patches, class_tokens, strict=True):
            token = broadcast.broadcast_to(token[:, None, None], map_.shape)
            x = jnp.concatenate([map_, token], axis=-1)
            size = (ENLARGED * x.shape[1], ENLARGED * x.shape[2])
            each.append(layers.resize_bilinear(x, size))
        x = jnp.concatenate(each, axis=-1)
        scores = layers.Conv(BINS, 1, use_bias=True, dtype=self.dtype, name="score")(x)
        shares = nn.relu(scores.astype(jnp.float32)) + 0.1
        shares = shares / jnp.sum(shares, axis=-1, keepdims=True)
        bins = jnp.linspace(self.least, self.greatest, BINS, dtype=jnp.float32)
        value = jnp.sum(shares * bins, axis=-1, keepdims=True)
        return jnp.clip(value, self.least, self.greatest)


@dataclasses.dataclass(frozen=True)
class Branch:
    """What every task has to itself: `LinearBins` of the tasks in `ranges`, else the other."""

    layers: str
    dropout: float
    ranges: Mapping[str, tuple[float, float]]
    dtype: DTypeLike

    def __call__(
        self, pyramid: encoders.Pyramid, outputs: int, *, task: str, train: bool
    ) -> tuple[jax.Array, jax.Array]:
        """Tokens ─► [B, H, W, outputs], [B, h, w, C], the features of all layers side by side.

        To be called within a compact module, of which `decoder_<task>` becomes a part.

        Raises:
          ConfigError: the encoder has no tokens, or a task with a range has several outputs.
        """
        tokens = pyramid.need_tokens(by="The decoder 'linear'")
        first = 0 if self.layers == "all" else -1
        name = f"decoder_{task}"
        normed = tokens.maps(normed=True)[first:]
        features = jnp.concatenate(normed, axis=-1)
        if task not in self.ranges:
            head = LinearSegmentation(outputs, self.dropout, name=name)
            return head(normed, train=train), features
        expect_one_output(task, outputs)
        head = LinearBins(*self.ranges[task], dtype=self.dtype, name=name)
        each = (f(normed=False)[first:] for f in (tokens.maps, tokens.class_token))
        return head(*each), features


def expect_one_output(task: str, outputs: int) -> None:
    """Raises ConfigError if a task that is to be a depth has several outputs."""
    if outputs != 1:
        raise ConfigError(
            f"config.model.decoder.ranges names {task!r}, which has {outputs} outputs; expected "
            "tasks with one value for each pixel, such as depth."
        )


def check_released(options, task: str) -> None:
    """Raises ConfigError if no released head can be the one of a task."""
    if options.decoder.layers == "all":
        check_taps(options, task, "even" if task in options.decoder.ranges else "last")
    elif options.encoder.taps not in ("even", "last"):
        check_taps(options, task, "even")


def check_taps(options, task: str, expected: str) -> None:
    """Raises ConfigError if the blocks that heads read are not those of DINOv2's."""
    if options.encoder.taps != expected:
        raise ConfigError(
            f"config.model.pretrained_heads.{task}: this head of DINOv2's reads other blocks than "
            f"config.model.encoder.taps={options.encoder.taps!r}; expected {expected!r}. Heads of "
            "the last four blocks and of four evenly spaced ones need a run each."
        )


def released(options, task: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """What DINOv2's files call the layers of the head of a task, of which none is transposed."""
    if task in options.decoder.ranges:
        return {"score": "decode_head.conv_depth"}, ()
    return {"score": "decode_head.conv_seg", "bn": "decode_head.bn"}, ()


def branch(options) -> Branch:
    """The branch of `options.decoder`, these `OPTIONS`, and `options.dtype`."""
    decoder = options.decoder
    ranges = {task: tuple(pair) for task, pair in decoder.ranges.items()}
    return Branch(decoder.layers, decoder.dropout, ranges, _options.dtype(options.dtype))
