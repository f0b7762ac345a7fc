"""Dense prediction from a plain transformer's tokens (Ranftl et al. 2021, "DPT").

Four layers of tokens become maps at strides 4, 8, 16 and 32 (for patches of 16), which are fused
from the coarsest on. Two published forms: DINOv2's depth head, without BatchNorm, and isl-org's
segmentation head, with it.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from mtl_jax import _options, encoders, layers
from mtl_jax._options import Option, one_of, truth, whole
from mtl_jax.errors import ConfigError
from mtl_jax.heads import linear
from mtl_jax.layers import broadcast, transformer, transposed

NEEDS = "tokens"
FORMS = ("segmentation", "depth")
OPTIONS = {
    "channels": Option(256, "of everything after the tokens; 256 as published", whole(least=2)),
    "form": Option(
        "segmentation",
        "of tasks without a range: isl-org's 'segmentation' head with BatchNorms and dropout, or "
        "DINOv2's 'depth' head without",
        one_of(*FORMS),
    ),
    "auxiliary": Option(
        False,
        "isl-org's second segmentation head, on the second-finest map; its losses have the weights "
        "config.train.deep_supervision_weights, (0.2, 1.0) in DPT",
        truth,
    ),
    "ranges": linear.RANGES,
}
# What DINOv2's files call the layers of the form 'depth', see `mtl_jax.weights.released`.
_REASSEMBLE, _FUSION = "decode_head.reassemble_blocks", "decode_head.fusion_blocks"
RELEASED = {
    "reassemble_{n}/readout": f"{_REASSEMBLE}.readout_projects.{{n}}.0",
    "reassemble_{n}/project": f"{_REASSEMBLE}.projects.{{n}}.conv",
    "reassemble_{n}/resize": f"{_REASSEMBLE}.resize_layers.{{n}}",
    "reassemble_{n}/conv": "decode_head.convs.{n}.conv",
    "fusion_{n}/project": f"{_FUSION}.{{n}}.project.conv",
    "fusion_{n}/res_conv_unit{m}/conv{b}": f"{_FUSION}.{{n}}.res_conv_unit{{m}}.conv{{b}}.conv",
    "project": "decode_head.project.conv",
    "head_0": "decode_head.conv_depth.head.0",
    "head_1": "decode_head.conv_depth.head.2",
    "head_2": "decode_head.conv_depth.head.4",
}
TRANSPOSED = ("reassemble_0/resize", "reassemble_1/resize")


class Reassemble(nn.Module):
    """One layer's tokens ─► a map [B, h', w', channels].

    Attributes:
      level: 0 to 3: the map is 4 times, twice, once or half as large as the grid of tokens.
      channels: of the map.
      dtype: compute type.
    """

    level: int
    channels: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, patches: jax.Array, class_token: jax.Array) -> jax.Array:
        """[B, h, w, C], [B, C] ─► [B, h', w', channels]."""
        width = patches.shape[-1]
        class_token = broadcast.broadcast_to(class_token[:, None, None], patches.shape)
        x = jnp.concatenate([patches, class_token], axis=-1)
        x = transformer.Linear(width, dtype=self.dtype, name="readout")(x)
        x = layers.gelu(x)
        inner = width // (8, 4, 2, 1)[self.level]
        x = layers.Conv(inner, 1, use_bias=True, dtype=self.dtype, name="project")(x)
        if self.level < 2:
            side = (4, 2)[self.level]
            x = transposed.ConvTranspose(
                inner,
                kernel_size=side,
                stride=side,
                padding=0,
                output_padding=0,
                use_bias=True,
                dtype=self.dtype,
                name="resize",
            )(x)
        elif self.level == 3:
            x = layers.Conv(inner, 3, stride=2, use_bias=True, dtype=self.dtype, name="resize")(x)
        return layers.Conv(self.channels, 3, dtype=self.dtype, name="conv")(x)


class ResidualUnit(nn.Module):
    """x + conv(ReLU(conv(ReLU(x)))), with a BatchNorm after each convolution if `norm`."""

    norm: bool
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        y = x
        for index in (1, 2):
            y = layers.Conv(x.shape[-1], 3, dtype=self.dtype, name=f"conv{index}")(nn.relu(y))
            if self.norm:
                y = layers.BatchNorm(dtype=self.dtype, name=f"bn{index}")(y, train=train)
        return x + y


class Fusion(nn.Module):
    """Adds a finer map to what the coarser ones have become, and doubles the resolution."""

    norm: bool
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: jax.Array, finer: jax.Array | None, *, train: bool) -> jax.Array:
        """[B, h, w, C], [B, ~h, ~w, C] or None for the first ─► [B, 2h, 2w, C]."""
        if finer is not None:
            if finer.shape != x.shape:  # odd sizes: halves and doubles differ by one
                finer = layers.resize_bilinear(finer, x.shape[1:3])
            x = x + ResidualUnit(self.norm, self.dtype, name="res_conv_unit1")(finer, train=train)
        x = ResidualUnit(self.norm, self.dtype, name="res_conv_unit2")(x, train=train)
        x = layers.resize_bilinear_align_corners(x, (2 * x.shape[1], 2 * x.shape[2]))
        return layers.Conv(x.shape[-1], 1, use_bias=True, dtype=self.dtype, name="project")(x)


class DPT(nn.Module):
    """Four layers of tokens ─► predictions at about the image's resolution, for patches of 16.

    Parameters of the depth head: 13,961,377, 24,193,921 and 34,190,017 for ViT-S, B and L.

    Attributes:
      outputs: K.
      form: 'depth' (DINOv2) or 'segmentation' (isl-org).
      channels: of everything in between.
      auxiliary: of the form 'segmentation', predict after the second-finest fusion too.
      dtype: compute type; the last layer is float32.
    """

    outputs: int
    form: str = "depth"
    channels: int = 256
    auxiliary: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, patches: Sequence[jax.Array], class_tokens: Sequence[jax.Array], *, train: bool
    ) -> tuple[jax.Array, ...]:
        """Reads four layers, from the first to the last.

        Args:
          patches: four [B, h, w, C].
          class_tokens: four [B, C].
          train: normalise by the batch, and drop.

        Returns:
          [B, H, W, K] float32, 16 times the grid of tokens (its sides rounded up to even ones), and
          the features [B, H/2, W/2, channels]; with `auxiliary` the earlier predictions, of half
          the size, too.
        """
        norm = self.form == "segmentation"
        maps = [
            Reassemble(level, self.channels, self.dtype, name=f"reassemble_{level}")(map_, token)
            for level, (map_, token) in enumerate(zip(patches, class_tokens, strict=True))
        ]
        x = Fusion(norm, self.dtype, name="fusion_0")(maps[3], None, train=train)
        earlier = ()
        for index, finer in enumerate(maps[2::-1], start=1):
            x = Fusion(norm, self.dtype, name=f"fusion_{index}")(x, finer, train=train)
            if norm and self.auxiliary and index == 2:
                earlier = (self._segmentation(x, train, "auxiliary"),)
        found = self._segmentation(x, train, "head") if norm else self._depth(x)
        return found, x, *earlier

    def _depth(self, x: jax.Array) -> jax.Array:
        conv = functools.partial(layers.Conv, use_bias=True, dtype=self.dtype)
        x = nn.relu(conv(self.channels, name="project")(x))
        x = conv(self.channels // 2, name="head_0")(x)
        x = layers.resize_bilinear_align_corners(x, (2 * x.shape[1], 2 * x.shape[2]))
        x = nn.relu(conv(32, name="head_1")(x)).astype(jnp.float32)
        return layers.Conv(self.outputs, 1, use_bias=True, name="head_2")(x)

    def _segmentation(self, x: jax.Array, train: bool, name: str) -> jax.Array:
        x = layers.Conv(self.channels, 3, dtype=self.dtype, name=f"{name}_0")(x)
        x = nn.relu(layers.BatchNorm(dtype=self.dtype, name=f"{name}_bn")(x, train=train))
        x = nn.Dropout(0.1, deterministic=not train)(x).astype(jnp.float32)
        x = layers.Conv(self.outputs, 1, use_bias=True, name=f"{name}_1")(x)
        return layers.resize_bilinear_align_corners(x, (2 * x.shape[1], 2 * x.shape[2]))


@dataclasses.dataclass(frozen=True)
class Branch:
    """What every task has to itself: see `DPT`.

    Attributes:
      channels: of everything in between.
      form: of the tasks that are not in `ranges`.
      ranges: {task: (least, greatest)}: depths of the form 'depth', ReLU(z) + least, in evaluation
        at most `greatest`.
      dtype: compute type.
      auxiliary: see `DPT`.
    """

    channels: int
    form: str
    ranges: Mapping[str, tuple[float, float]]
    dtype: DTypeLike
    auxiliary: bool = False

    def __call__(
        self, pyramid: encoders.Pyramid, outputs: int, *, task: str, train: bool
    ) -> tuple[jax.Array, ...]:
        """Tokens ─► [B, H, W, outputs], [B, H/2, W/2, channels], and earlier predictions if any.

        To be called within a compact module, of which `decoder_<task>` becomes a part.

        Raises:
          ConfigError: the encoder has no four layers of tokens, or a task with a range has several
            outputs.
        """
        tokens = pyramid.need_tokens(by="The decoder 'dpt'")
        if len(tokens.raw) != 4:
            raise ConfigError(
                f"The decoder 'dpt' reads the tokens after four blocks, and config.model.encoder."
                f"taps gives those after {len(tokens.raw)}. Set it to 'even' or to four blocks."
            )
        form = "depth" if task in self.ranges else self.form
        name = f"decoder_{task}"
        head = DPT(outputs, form, self.channels, self.auxiliary, self.dtype, name=name)
        maps, class_tokens = tokens.maps(normed=False), tokens.class_token(normed=False)
        x, features, *earlier = head(maps, class_tokens, train=train)
        if task not in self.ranges:
            return x, features, *earlier
        linear.expect_one_output(task, outputs)
        least, greatest = self.ranges[task]
        x = nn.relu(x) + least
        # In training a value beyond the range keeps its gradient.
        return x if train else jnp.clip(x, least, greatest), features


def check_released(options, task: str) -> None:
    """Raises ConfigError if no released head can be the one of a task."""
    if task not in options.decoder.ranges:
        raise ConfigError(
            f"config.model.pretrained_heads.{task}: DINOv2's DPT heads predict depths in metres. "
            f"Expected a range for {task!r}, config.model.decoder.ranges={{'{task}': (0.001, "
            "10.0)} for NYU's and (0.001, 80.0) for KITTI's."
        )
    linear.check_taps(options, task, "even")


def released(options, task: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """(`RELEASED`, `TRANSPOSED`) of the decoder of a task."""
    del options, task
    return RELEASED, TRANSPOSED


def branch(options) -> Branch:
    """The branch of `options.decoder`, these `OPTIONS`, and `options.dtype`."""
    ranges = {task: tuple(pair) for task, pair in options.decoder.ranges.items()}
    decoder = options.decoder
    if decoder.auxiliary and decoder.form != "segmentation":
        raise ConfigError(
            "config.model.decoder.auxiliary=True is a second head of isl-org's; expected config."
            f"model.decoder.form='segmentation', found {decoder.form!r}."
        )
    dtype = _options.dtype(options.dtype)
    return Branch(decoder.channels, decoder.form, ranges, dtype, decoder.auxiliary)
