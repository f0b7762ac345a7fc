"""What every encoder returns."""

from collections.abc import Iterable

import flax.struct
import jax

from mtl_jax.errors import ConfigError


@flax.struct.dataclass
class Tokens:
    """The tokens of a vision transformer after some of its blocks.

    A block's tokens are [B, prefix + h·w, C]: the class token, further ones without a place in the
    image (registers), and one for each patch, row by row.

    Attributes:
      raw: as the blocks left them.
      normed: the same through the network's final norm.
      grid: (h, w), the patches of the image.
      prefix: how many tokens have no place in the image.
      has_class: whether the first of them, if any, is a class token.
    """

    raw: tuple[jax.Array, ...]
    normed: tuple[jax.Array, ...]
    grid: tuple[int, int] = flax.struct.field(pytree_node=False)
    prefix: int = flax.struct.field(pytree_node=False)
    has_class: bool = flax.struct.field(pytree_node=False, default=True)

    def maps(self, *, normed: bool) -> tuple[jax.Array, ...]:
        """[B, h, w, C] for each block, the patches where they are in the image."""
        return tuple(
            tokens[:, self.prefix :].reshape(tokens.shape[0], *self.grid, -1)
            for tokens in (self.normed if normed else self.raw)
        )

    def class_token(self, *, normed: bool) -> tuple[jax.Array, ...]:
        """[B, C] for each block.

        Raises:
          ConfigError: the network has no class token.
        """
        if not (self.prefix and self.has_class):
            raise ConfigError(
                "A decoder reads the class token, and the encoder has none. Set config.model."
                "encoder.class_token=True, or choose another config.model.decoder."
            )
        return tuple(tokens[:, 0] for tokens in (self.normed if normed else self.raw))


@flax.struct.dataclass
class Pyramid:
    """The features of an image.

    Attributes:
      features: {stride: [B, h, w, c]}; of several stages with the same stride the last one.
      skip: [B, h, w, c] that a decoder may take its skip connection from: an encoder's first stage,
        at stride 4. A dilated later stage of that stride may have overwritten `features[4]`. None
        if the encoder has no such features.
      tokens: of a vision transformer; None of other encoders.
    """

    features: dict[int, jax.Array]
    skip: jax.Array | None = None
    tokens: Tokens | None = None

    @property
    def strides(self) -> tuple[int, ...]:
        """The strides, rising."""
        return tuple(sorted(self.features))

    @property
    def last(self) -> jax.Array:
        """The features of the largest stride, which are the encoder's output."""
        return self.features[self.strides[-1]]

    def need(self, strides: Iterable[int], *, by: str) -> tuple[jax.Array, ...]:
        """The features at these strides.

        Args:
          strides: e.g. (4, 8, 16, 32).
          by: what needs them, for the error, e.g. "The head 'hrnet'".

        Raises:
          ConfigError: there are none at one of them.
        """
        strides = tuple(strides)
        if missing := [stride for stride in strides if stride not in self.features]:
            raise ConfigError(
                f"{by} needs features at {_listed(strides)}, and config.model.encoder gives them "
                f"at {_listed(self.strides)}, not at {_listed(missing)}. Take another encoder "
                f"({_giving('strides')} give several), or other options of it: dilation takes the "
                "larger strides away."
            )
        return tuple(self.features[stride] for stride in strides)

    def need_skip(self, *, by: str) -> jax.Array:
        """`skip`.

        Raises:
          ConfigError: the encoder has none.
        """
        if self.skip is None:
            raise ConfigError(
                f"{by} needs features for a skip connection, at stride 4, and config.model.encoder "
                f"gives none; its features are at {_listed(self.strides)}. Encoders that give "
                f"them: {_giving('skip')}."
            )
        return self.skip

    def need_tokens(self, *, by: str) -> Tokens:
        """`tokens`.

        Raises:
          ConfigError: the encoder has none.
        """
        if self.tokens is None:
            raise ConfigError(
                f"{by} needs the tokens of a vision transformer, and config.model.encoder gives "
                f"none. Encoders that give them: {_giving('tokens')}."
            )
        return self.tokens


def _giving(what: str) -> str:
    from mtl_jax import encoders  # only for an error: it imports this module

    return ", ".join(encoders.giving(what))


def _listed(strides: Iterable[int]) -> str:
    return "stride " + ", ".join(map(str, strides))
