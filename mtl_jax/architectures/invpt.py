"""InvPT (Ye and Xu 2022): a transformer decoder in which all pixels of all tasks see each other.

Published beside a ViT-L whose table of positions has the training crop's grid, 32×32 patches on
PASCAL-Context and 28×36 on NYUD, resampled by the rule 'plain', and whose taps are raw after blocks
5, 11 and 17 (from 0) and normalised after the last.

Its authors exchanged the encoder for Swin's too, which no public code defines. Of an encoder with
features of several strides, Swin or another, those at strides 8, 16 and 32 are read here: the last
are what stage 0 starts from as they are, and each of the others goes through a 3×3 convolution and
is added to the stage of its own resolution. That reading is ours.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from mtl_jax import _options, encoders, layers
from mtl_jax._options import Option, whole
from mtl_jax.architectures import Predictions
from mtl_jax.errors import ConfigError, UsageError
from mtl_jax.heads import invpt
from mtl_jax.layers import transformer, transposed

OPTIONS = {
    "encoder": encoders.PART,
    "width": Option(
        512,
        "of the first predictions' features; a multiple of 8, 512 beside a ViT-L",
        whole(least=1),
    ),
}
# Channels that stand for a task's first prediction, whatever their number is.
PREDICTION_WIDTH = 64
_LEAVES = ("kernel", "bias")

# What the authors' files call our layers, see `mtl_jax.weights.released`.
_DECODER = "multi_task_decoder"
_STAGE = f"{_DECODER}.invpt.invpt_stages.{{n}}"
RELEASED = {
    "encoder": "backbone",
    "encoder/patch_embed": "backbone.patch_embed.proj",
    "encoder/blocks_{n}/{rest}": "backbone.blocks.{n}.{rest}",
    "encoder/norm": "backbone.norm",
    "skip_8": f"{_DECODER}.scale_embed.0",
    "skip_16": f"{_DECODER}.scale_embed.1",
    "skip_unused": f"{_DECODER}.scale_embed.2",
    "first_{task}_conv{n}/conv": f"{_DECODER}.preliminary_decoder.{{task}}.{{n}}.conv",
    "first_{task}_conv{n}/bn": f"{_DECODER}.preliminary_decoder.{{task}}.{{n}}.bn1",
    "first_{task}_predict": f"{_DECODER}.intermediate_head.{{task}}",
    "enter_{task}": f"{_DECODER}.invpt.mix_proj.{{task}}.0",
    "stage{n}/attn/query_{m}_conv": f"{_STAGE}.blocks.0.attn.conv_proj_q.{{m}}.conv",
    "stage{n}/attn/query_{m}_bn": f"{_STAGE}.blocks.0.attn.conv_proj_q.{{m}}.bn",
    "stage{n}/attn/fuse": f"{_STAGE}.blocks.0.attn.fuse_attn",
    "stage{n}/{rest}": f"{_STAGE}.blocks.0.{{rest}}",
    "enlarge{n}_{task}/conv0/conv": f"{_STAGE}.patch_embed.{{index}}.proj.1",
    "enlarge{n}_{task}/conv0/bn": f"{_STAGE}.patch_embed.{{index}}.proj.2",
    "enlarge{n}_{task}/conv1/conv": f"{_STAGE}.patch_embed.{{index}}.proj.4",
    "enlarge{n}_{task}/conv1/bn": f"{_STAGE}.patch_embed.{{index}}.proj.5",
    "norm{n}": f"{_DECODER}.invpt.norm_mts.{{n}}",
    "norm_unused": f"{_DECODER}.invpt.norm_mt",
    "reduce{n}_{task}": f"{_DECODER}.invpt.redu_chan.{{n}}.{{index}}",
    "mix_{task}_conv": f"{_DECODER}.invpt.mt_proj.{{task}}.0",
    "mix_{task}_bn": f"{_DECODER}.invpt.mt_proj.{{task}}.1",
    "head_{task}": "heads.{task}.linear_pred",
}
TRANSPOSED = ("skip_8",)  # transposed convolutions, whose kernels lie otherwise


def build(options, channels: dict[str, int]) -> nn.Module:
    """The network of these `OPTIONS`.

    Raises:
      ConfigError: a width that two heads cannot share at every stage, or another number of taps.
    """
    dtype = _options.dtype(options.dtype)
    encoder = encoders.build(options.encoder, dtype=dtype)
    parts = 4 * invpt.HEADS
    if options.width % parts:
        raise ConfigError(
            f"config.model.width={options.width}; expected a multiple of {parts}, as the last "
            f"stage has a quarter of it and of {PREDICTION_WIDTH}, for {invpt.HEADS} heads."
        )
    taps = getattr(encoder, "taps", None)
    if taps is not None and len(taps) != 4:
        raise ConfigError(
            f"The architecture 'invpt' reads the tokens after four blocks, and config.model.encoder"
            f".taps={taps} gives those after {len(taps)}. Set it to 'even' or to four blocks."
        )
    return InvPT(encoder=encoder, channels=channels, width=options.width, dtype=dtype)


class InvPT(nn.Module):
    """Encoder ─► first predictions at 1/32 ─► three stages at 1/32, 1/16, 1/8 ─► sum at 1/4.

    Attributes:
      encoder: that gives tokens of four layers at stride 16, or features at strides 8, 16 and 32.
      channels: {task: outputs}.
      width: of the first predictions' features; 512 as published, beside a ViT-L.
      dtype: compute type.
    """

    encoder: nn.Module
    channels: dict[str, int]
    width: int = 512
    dtype: DTypeLike = jnp.float32

    @property
    def size_multiple(self) -> int:
        """Queries of the coarsest stage are made at a quarter of the patches' resolution."""
        return 4 * getattr(self.encoder, "patch", 16)

    @property
    def _is_plain(self) -> bool:
        """Whether the encoder is a transformer whose features have one stride."""
        return hasattr(self.encoder, "patch")

    @property
    def unread(self) -> dict[str, str]:
        """What the released networks have, and count, although nothing reads it."""
        layers_of = {
            "skip_unused": "the coarsest stage takes no features of the encoder",
            "stage0/attn/fuse": "the first stage is told no scores",
            "norm_unused": "every stage has a norm of its own",
        } | {f"reduce0_{task}": "the first stage has the width already" for task in self.channels}
        if not self._is_plain:
            del layers_of["skip_unused"]
        found = {f"{layer}/{leaf}": why for layer, why in layers_of.items() for leaf in _LEAVES}
        del found["norm_unused/kernel"]
        return found | {"norm_unused/scale": layers_of["norm_unused"]}

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> Predictions:
        """[B, H, W, 3], H and W multiples of `size_multiple`.

        Raises:
          UsageError: another size.
        """
        size = image.shape[1:3]
        if any(side % self.size_multiple for side in size):
            raise UsageError(
                f"InvPT needs images whose sides are multiples of {self.size_multiple}, found "
                f"{size[0]}×{size[1]}."
            )
        last, skips = self._read(self.encoder(image, train=train))
        features, first = self._first(last, train)
        total = self._stages(features, skips, train)
        final = {}
        for task, outputs in self.channels.items():
            x = layers.Conv(
                self._widths[0],
                3,
                use_bias=True,
                kernel_init="transformer",
                dtype=self.dtype,
                name=f"mix_{task}_conv",
            )(total[task])
            norm = layers.BatchNorm(dtype=self.dtype, name=f"mix_{task}_bn")
            x = nn.relu(norm(x, train=train)).astype(jnp.float32)
            x = layers.Conv(outputs, 1, use_bias=True, name=f"head_{task}")(x)
            final[task] = layers.resize_bilinear(x, size)
        first = {task: layers.resize_bilinear(x, size) for task, x in first.items()}
        return Predictions(final=final, auxiliary=(first,))

    @property
    def _widths(self) -> tuple[int, int, int]:
        full = self.width + PREDICTION_WIDTH
        return full, full // 2, full // 4

    def _conv(self, features: int, size: int, name: str) -> layers.Conv:
        return layers.Conv(features, size, use_bias=True, dtype=self.dtype, name=name)

    def _first(self, x: jax.Array, train: bool) -> tuple[list[jax.Array], dict[str, jax.Array]]:
        """Each task's features for the stages, and its first predictions, both at 1/32."""
        features, first = [], {}
        for task, outputs in self.channels.items():
            y = x
            for index, width in enumerate((x.shape[-1], self.width)):
                name = f"first_{task}_conv{index}"
                y = layers.ConvBNReLU(width, dtype=self.dtype, name=name)(y, train=train)
            predict = layers.Conv(outputs, 1, use_bias=True, name=f"first_{task}_predict")
            first[task] = predict(y.astype(jnp.float32))
            both = jnp.concatenate([y, first[task].astype(y.dtype)], axis=-1)
            features.append(self._conv(self._widths[0], 1, f"enter_{task}")(both))
        return features, first

    def _read(self, pyramid: encoders.Pyramid) -> tuple[jax.Array, list[jax.Array | None]]:
        """The last features, at 1/32, and what is added to the stages: nothing, 1/16, 1/8."""
        full, half, quarter = self._widths
        if not self._is_plain:
            fine, middle, last = pyramid.need((8, 16, 32), by="The architecture 'invpt'")
            fine = self._conv(quarter, 3, "skip_8")(fine)
            return last, [None, self._conv(half, 3, "skip_16")(middle), fine]
        tokens = pyramid.need_tokens(by="The architecture 'invpt'")
        first, second, third, _ = tokens.maps(normed=False)
        fine = transposed.ConvTranspose(quarter, dtype=self.dtype, name="skip_8")(first)
        middle = self._conv(half, 3, "skip_16")(second)
        if self.is_initializing():  # see `unread`
            self._conv(full, 3, "skip_unused")(third)
        last = tokens.maps(normed=True)[-1]
        size = last.shape[1] // 2, last.shape[2] // 2
        return layers.resize_bilinear(last, size), [None, middle, fine]

    def _stages(self, maps, skips, train: bool) -> dict[str, jax.Array]:
        """{task: [B, H/4, W/4, width]}: the sum of all stages' outputs."""
        height, width = (8 * n for n in maps[0].shape[1:3])
        total, scores = dict.fromkeys(self.channels, 0.0), None
        for index, (features, skip) in enumerate(zip(self._widths, skips, strict=True)):
            if index:
                maps = [
                    invpt.Enlarge(features, self.dtype, name=f"enlarge{index}_{task}")(
                        x, train=train
                    )
                    + skip
                    for task, x in zip(self.channels, maps, strict=True)
                ]
            stage = invpt.Stage(2 ** (index + 1), self.dtype, name=f"stage{index}")
            maps, scores = stage(maps, scores, train=train)
            # One norm over the channels of all tasks together.
            norm = transformer.LayerNorm(invpt.EPSILON, dtype=self.dtype, name=f"norm{index}")
            together = norm(jnp.concatenate(maps, axis=-1))
            each = jnp.split(together, len(self.channels), axis=-1)
            for task, x in zip(self.channels, each, strict=True):
                reduce = self._conv(self._widths[0], 1, f"reduce{index}_{task}")
                if index:
                    x = reduce(x)
                elif self.is_initializing():
                    reduce(x)  # see `unread`
                total[task] = total[task] + layers.resize_bilinear(x, (height, width))
        if self.is_initializing():  # see `unread`
            transformer.LayerNorm(invpt.EPSILON, name="norm_unused")(together)
        return total
