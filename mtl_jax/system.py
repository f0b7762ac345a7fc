"""A model with its tasks and its weighting: what training, evaluation and prediction share."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from mtl_jax import architectures, tasks, weightings
from mtl_jax.optimizers import freezing
from mtl_jax.optimizers.freezing import Freezing


@dataclasses.dataclass(frozen=True)
class System:
    """A model with its tasks and its weighting.

    Attributes:
      model: the architecture.
      tasks: {name: Task}.
      weighting: how the losses are balanced.
      image_mean, image_std: per channel, for pixels in [0, 1].
      deep_supervision: average each task's loss over the auxiliary and the final predictions.
      freezing: what training leaves as it is.
    """

    model: nn.Module
    tasks: dict[str, Any]
    weighting: weightings.Weighting
    image_mean: tuple[float, ...]
    image_std: tuple[float, ...]
    deep_supervision: bool
    freezing: Freezing = Freezing()

    def normalize(self, image: jax.Array) -> jax.Array:
        """uint8 [B, H, W, 3] ─► float32, (x / 255 − mean) / std."""
        mean = jnp.asarray(self.image_mean, jnp.float32)
        std = jnp.asarray(self.image_std, jnp.float32)
        return (image.astype(jnp.float32) / 255.0 - mean) / std

    def init(self, key: jax.Array, image_shape: tuple[int, int]) -> dict[str, Any]:
        """The model's initial variables.

        Args:
          key: PRNG key.
          image_shape: (H, W) of the images; parameters do not depend on it.
        """
        image = jnp.zeros((1, *image_shape, 3), jnp.float32)
        # Unoptimised code: it runs once, and optimising hundreds of random draws takes a minute.
        init = jax.jit(
            lambda key: self.model.init({"params": key}, image, train=False),
            compiler_options={"xla_backend_optimization_level": 0},
        )
        variables = dict(init(key))
        variables.setdefault("batch_stats", {})
        return variables

    def predict(self, variables: dict[str, Any], image: jax.Array) -> dict[str, jax.Array]:
        """Final predictions {task: float32 [B, H, W, C]} for uint8 images [B, H, W, 3]."""
        return self.model.apply(variables, self.normalize(image), train=False).final

    def trained_tasks(self, config_model, label_specs: dict[str, dict]) -> dict[str, Any]:
        """{name: Task} of those that the run has learned, and with them what they need.

        A task had labels in the run's data, or in those of the run whose whole weights it started
        from.

        Args:
          config_model: `config.model`.
          label_specs: {key: `LabelSpec.as_dict()`} of the data set that it was trained on.
        """
        started_from = config_model.pretrained
        whole_run = config_model.pretrained_scope == "all" and started_from

        def is_trained(name: str) -> bool:
            key = self.tasks[name].key
            return key in label_specs or bool(
                whole_run and Path(started_from).expanduser().is_dir()
            )

        return {
            name: task
            for name, task in self.tasks.items()
            if all(is_trained(n) for n in (name, *tasks.needs(task)))
        }


def build(config, label_specs: dict[str, dict]) -> System:
    """Builds model, tasks and weighting from a run's config.

    Args:
      config: the whole config.
      label_specs: {key: `LabelSpec.as_dict()`} of the data set.

    Raises:
      ValueError: some part of the config is impossible; the message names the key.
    """
    all_tasks = tasks.build(config.tasks, label_specs)
    channels = {name: task.channels for name, task in all_tasks.items()}
    unlabelled = [name for name, task in all_tasks.items() if task.key not in label_specs]
    return System(
        model=architectures.build(config.model, channels),
        tasks=all_tasks,
        weighting=weightings.build(config.weighting, all_tasks),
        image_mean=tuple(config.model.image_mean),
        image_std=tuple(config.model.image_std),
        deep_supervision=config.train.deep_supervision,
        freezing=freezing.build(config.train, tuple(all_tasks), unlabelled),
    )
