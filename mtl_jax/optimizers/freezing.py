"""Parts of a network that training leaves as they are.

A frozen parameter has no gradient, so that nothing is spent on computing one, and no update, so
that weight decay does not move it either. A frozen BatchNorm normalises by its running statistics
in training as in evaluation; these and its scale and bias stay. Low-rank updates (`lora_rank`) of a
frozen encoder are what is trained of it; without them nothing is, so no paths are dropped.
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
      batch_norm: whose BatchNorms stay: '' nobody's, 'encoder', or 'all'.
      tasks: of the run.
      batch_norms: the paths of the network's BatchNorms, see `optimizers.modules_of`.
      unlabelled: those of which the data set has no labels. Their own layers stay, if they have
        any: without a gradient, weight decay alone would move them, by Adam to zero at full speed.
      drop_paths: whether the encoder's residual branches are dropped in training, if it has a rate.
    """

    parts: tuple[str, ...] = ()
    batch_norm: str = ""
    tasks: tuple[str, ...] = ()
    unlabelled: tuple[str, ...] = ()
    batch_norms: frozenset[tuple[str, ...]] = frozenset()
    drop_paths: bool = True

    def __bool__(self) -> bool:
        return bool(self.parts or self.batch_norm or self.unlabelled)

    def mask(self, params: Any) -> Any:
        """A tree of bools like `params`, {'model': ..., 'weighting': ...}: what gets no update.

        Raises:
          ConfigError: the network has no parameter of one of `parts`.
        """
        found = set()
        still = {*self.parts, *self.unlabelled}

        def stays(path, _) -> bool:
            names = optimizers.names_of(path)
            if names[0] != "model":
                return False
            owners = {optimizers.group_of(path, self.tasks)}
            if optimizers.is_encoder(names[1]) and names[-1] not in transformer.LOW_RANK:
                owners.add(ENCODER)
            found.update(owners)
            of_batch_norm = tuple(names[1:-1]) in self.batch_norms
            return bool(owners & still) or (of_batch_norm and self._keeps(names[1]))

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

        That is, frozen BatchNorms are left as they are, and a frozen encoder drops no paths.
        """
        if not self.batch_norm and self.drop_paths:
            return contextlib.nullcontext()

        def is_still(module: nn.Module) -> bool:
            if isinstance(module, layers.BatchNorm):
                return self._keeps(module.path[0])
            is_path = isinstance(module, transformer.DropPath)
            return is_path and not self.drop_paths and optimizers.is_encoder(module.path[0])

        def intercept(call, args, kwargs, context):
            if context.method_name == "__call__" and is_still(context.module):
                kwargs = kwargs | {"train": False}
            return call(*args, **kwargs)

        return nn.intercept_methods(intercept)

    def _keeps(self, module: str) -> bool:
        """Whether the BatchNorms within a top-level module stay."""
        in_scope = self.batch_norm == ENCODER and optimizers.is_encoder(module)
        return self.batch_norm == "all" or in_scope


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
        drop_paths=adapted or not is_still,
    )
