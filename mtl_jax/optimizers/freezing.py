"""Parts of a network that training leaves as they are.

A frozen parameter has no gradient, so that nothing is spent on computing one, and no update, so
that weight decay does not move it either. It computes in training what it does in evaluation: its
BatchNorms, and those that are frozen by themselves, normalise by their running statistics, which
stay as their scales and biases do. Low-rank updates (`lora_rank`) of a frozen encoder are what is
trained of it; without them nothing is, so neither paths nor features of it are dropped.
"""

import contextlib
import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
from flax import linen as nn

from mtl_jax import layers, optimizers
from mtl_jax.errors import ConfigError
from mtl_jax.layers import transformer

ENCODER = "encoder"
BATCH_NORM_SCOPES = ("", ENCODER, "all")


@dataclasses.dataclass(frozen=True)
class Freezing:
    """What stays. By default nothing does.

    Attributes:
      parts: 'encoder', 'common' (all that no task owns, the encoder too), or tasks' names, whose
        own layers are meant.
      batch_norm: whose BatchNorms stay besides: '' nobody's, 'encoder', or 'all'.
      tasks: of the run.
      batch_norms: the paths of the network's BatchNorms, see `optimizers.modules_of`.
      unlabelled: those of which the data set has no labels. Their own layers stay, if they have
        any: without a gradient, weight decay alone would move them, by Adam to zero at full speed.
      encoder_drops: whether residual branches and features of the encoder are dropped in training,
        if it has a rate.
    """

    parts: tuple[str, ...] = ()
    batch_norm: str = ""
    tasks: tuple[str, ...] = ()
    unlabelled: tuple[str, ...] = ()
    batch_norms: frozenset[tuple[str, ...]] = frozenset()
    encoder_drops: bool = True

    def __bool__(self) -> bool:
        return bool(self.parts or self.batch_norm or self.unlabelled)

    def mask(self, params: Any) -> Any:
        """A tree of bools like `params`, {'model': ..., 'weighting': ...}: what gets no update.

        Raises:
          ConfigError: the network has no parameter of one of `parts`.
        """
        found = set()

        def stays(path, _) -> bool:
            names = optimizers.names_of(path)
            if names[0] != "model":
                return False
            owners = self._owners(names[1])
            if names[-1] in transformer.LOW_RANK:
                owners.discard(ENCODER)
            found.update(owners)
            of_batch_norm = tuple(names[1:-1]) in self.batch_norms
            return self._stay(owners) or (of_batch_norm and self._in_scope(names[1]))

        mask = jax.tree_util.tree_map_with_path(stays, params)
        if absent := [part for part in self.parts if part not in found]:
            raise ConfigError(
                f"config.train.freeze names {', '.join(absent)}, and no layer of this network "
                f"belongs to that alone; what can be frozen is {', '.join(sorted(found))}."
            )
        return mask

    def without_gradient(self, model_params: Any) -> Any:
        """The same parameters; no gradient is computed for those that stay."""
        if not self:
            return model_params
        return jax.tree.map(
            lambda stays, value: jax.lax.stop_gradient(value) if stays else value,
            self.mask({"model": model_params})["model"],
            model_params,
        )

    def as_frozen(self) -> contextlib.AbstractContextManager:
        """Within it, `Module.apply(..., train=True)` treats what is frozen as in evaluation.

        That is, its BatchNorms are left as they are, and of a frozen encoder nothing is dropped.
        """
        if not self:
            return contextlib.nullcontext()

        def intercept(call, args, kwargs, context):
            module = context.module
            if context.method_name == "__call__" and module.path:
                top = module.path[0]
                stays = self._in_scope(top) or self._stay(self._owners(top))
                if isinstance(module, layers.BatchNorm) and stays:
                    kwargs = kwargs | {"train": False}
                undropped = not self.encoder_drops and optimizers.is_encoder(top)
                if isinstance(module, transformer.DropPath | nn.Dropout) and undropped:
                    return args[0]
            return call(*args, **kwargs)

        return nn.intercept_methods(intercept)

    def _owners(self, module: str) -> set[str]:
        """Which parts a top-level module of the network belongs to."""
        of_encoder = {ENCODER} if optimizers.is_encoder(module) else set()
        return {optimizers.group_of(("model", module), self.tasks), *of_encoder}

    def _stay(self, owners: set[str]) -> bool:
        return not owners.isdisjoint({*self.parts, *self.unlabelled})

    def _in_scope(self, module: str) -> bool:
        """Whether the BatchNorms within a top-level module stay, whatever else does."""
        of_encoder = self.batch_norm == ENCODER and optimizers.is_encoder(module)
        return self.batch_norm == "all" or of_encoder


def build(
    config, model: nn.Module, tasks: Sequence[str], unlabelled: Sequence[str] = ()
) -> Freezing:
    """Reads `config.train.freeze` and `config.train.freeze_batch_norm`.

    Args:
      config: `config.train`.
      model: the network.
      tasks: of the run.
      unlabelled: those of them that have no labels.

    Raises:
      ConfigError: an unknown part or scope.
    """
    parts = tuple(config.freeze)
    known = (ENCODER, optimizers.COMMON, *tasks)
    if unknown := [part for part in parts if part not in known]:
        raise ConfigError(
            f"config.train.freeze names {unknown}; expected some of {', '.join(known)}."
        )
    if config.freeze_batch_norm not in BATCH_NORM_SCOPES:
        raise ConfigError(
            f"config.train.freeze_batch_norm={config.freeze_batch_norm!r}; expected one of "
            f"{', '.join(map(repr, BATCH_NORM_SCOPES))}."
        )
    norms = optimizers.modules_of(model, layers.BatchNorm) if config.freeze_batch_norm else ()
    # Of a frozen encoder its low-rank updates are trained, unless all that is shared is frozen.
    adapted = optimizers.COMMON not in parts and any(
        isinstance(part, transformer.LowRank) and part.rank for part in layers.parts(model)
    )
    is_still = not {ENCODER, optimizers.COMMON}.isdisjoint(parts)
    return Freezing(
        parts,
        config.freeze_batch_norm,
        tuple(tasks),
        tuple(unlabelled),
        frozenset(norms),
        encoder_drops=adapted or not is_still,
    )
