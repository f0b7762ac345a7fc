"""A model with its tasks and its weighting: what training, evaluation and prediction share."""

import dataclasses
import functools
import types
from collections.abc import Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from mtl_jax import architectures, encoders, layers, options, tasks, views, weightings
from mtl_jax.errors import ConfigError
from mtl_jax.optimizers import freezing
from mtl_jax.optimizers.freezing import Freezing
from mtl_jax.tasks import Task
from mtl_jax.views import TestTimeAugmentation


@dataclasses.dataclass(frozen=True)
class System:
    """A model with its tasks and its weighting.

    Attributes:
      model: the architecture.
      tasks: {name: Task}.
      weighting: how the losses are balanced.
      image_mean, image_std: per channel, for pixels in [0, 1]; () for ImageNet's.
      deep_supervision: a task's loss is one of its auxiliary predictions too.
      supervision_weights: of the auxiliary predictions' losses, in their order, and the final
        one's, which are then summed; () for the mean of all.
      freezing: what training leaves as it is.
      loss_average: 'pixels': a task's loss is its own mean over the batch; 'images': that of each
        image by itself, averaged over all images of the batch, 0 for one without a label of the
        task (Li et al.: Learning Multiple Dense Prediction Tasks from Partially Annotated Data,
        CVPR 2022); 'labels': the same, each image's multiplied by the number of tasks divided by
        that of its labels (Ye, Xu: DiffusionMTL, CVPR 2024).
      remat: the backward pass computes what is inside a block again, instead of keeping it.
    """

    model: nn.Module
    tasks: Mapping[str, Task]
    weighting: weightings.Weighting
    image_mean: tuple[float, ...]
    image_std: tuple[float, ...]
    deep_supervision: bool
    freezing: Freezing = Freezing()
    supervision_weights: tuple[float, ...] = ()
    loss_average: str = "pixels"
    remat: bool = False

    @property
    def penalties(self) -> tuple[str, ...]:
        """The names of what the network itself adds to the loss in training."""
        return tuple(getattr(self.model, "penalties", ()))

    def weights_of_predictions(self, count: int) -> tuple[float, ...]:
        """By what the losses of so many predictions, the final ones last, are multiplied.

        Raises:
          ConfigError: `supervision_weights` has another number of them.
        """
        if not self.deep_supervision:
            return (1.0,) * count
        weights = self.supervision_weights or (1.0,) * count
        if len(weights) != count:
            raise ConfigError(
                f"config.train.deep_supervision_weights={weights}; expected {count} weights, as "
                f"this network predicts {count - 1} times before its final predictions, whose "
                "weight is the last."
            )
        return weights

    @property
    def sizes(self) -> layers.ImageSizes:
        """The images that the model takes, as its parts say."""
        return layers.image_sizes(self.model)

    def at(self, step: jax.Array) -> "System":
        """The same with its tasks as they are at one update, see `mtl_jax.tasks.Task.at`."""
        tasks = {name: task.at(step) for name, task in self.tasks.items()}
        return dataclasses.replace(self, tasks=tasks)

    def normalize(self, image: jax.Array) -> jax.Array:
        """uint8 [B, H, W, 3] ─► float32, (x / 255 − mean) / std."""
        mean = jnp.asarray(self.image_mean or encoders.IMAGENET_MEAN, jnp.float32)
        std = jnp.asarray(self.image_std or encoders.IMAGENET_STD, jnp.float32)
        return (image.astype(jnp.float32) / 255.0 - mean) / std

    def init(self, key: jax.Array, image_shape: tuple[int, int]) -> dict[str, Any]:
        """The model's initial variables.

        Args:
          key: PRNG key.
          image_shape: (H, W) of the images; parameters do not depend on it.
        """
        variables = dict(self._init(key, tuple(image_shape)))
        variables.setdefault("batch_stats", {})
        return variables

    def zeros(self, image_shape: tuple[int, int] | None = None) -> dict[str, Any]:
        """Variables of the names, shapes and types of `init`, without the time that it takes."""
        shapes = self.shapes(image_shape)
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    def shapes(self, image_shape: tuple[int, int] | None = None) -> dict[str, Any]:
        """The names, shapes and types of the model's variables; nothing is allocated."""
        size = tuple(image_shape or self.sizes.fitting((64, 64)))
        return {"batch_stats": {}} | dict(jax.eval_shape(self._init, jax.random.key(0), size))

    @functools.cached_property
    def _init(self):
        """The model's `init` of (key, size of images), traced once for all that ask for it."""

        def init(key, size):
            image = jnp.zeros((1, *size, 3), jnp.float32)
            return self.model.init({"params": key}, image, train=False)

        # Unoptimised code: it runs once, and optimising hundreds of random draws takes a minute.
        options = {"xla_backend_optimization_level": 0}
        return jax.jit(init, static_argnums=1, compiler_options=options)

    def predict(
        self,
        variables: dict[str, Any],
        image: jax.Array,
        views: TestTimeAugmentation | None = None,
    ) -> dict[str, jax.Array]:
        """Final predictions of images of any size: what evaluation, prediction and exports share.

        Images are padded to a size that the model takes, see `sizes`, at the bottom and right, by
        repeating their last row and column. All else, views included, is done with padded images,
        and predictions are cropped at the end. An image that the caller has padded so is predicted
        alike.

        Args:
          variables: the model's.
          image: [B, H, W, 3], 0 ... 255, uint8.
          views: what predictions are merged from; by default the image alone.

        Returns:
          {task: float32 [B, H, W, C]}.

        Raises:
          UsageError: the model takes one size alone, and an image or a view is larger.
        """
        return self.plain_and_merged(variables, image, views or TestTimeAugmentation())[1]

    def plain_and_merged(
        self, variables: dict[str, Any], image: jax.Array, views: TestTimeAugmentation
    ) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
        """The predictions of the image alone, and those merged over `views`; see `predict`."""
        height, width = image.shape[1:3]
        sizes = self.sizes
        padded = layers.pad_to(image, sizes.padded((height, width)))

        def network(view):
            size = view.shape[1:3]
            view = self.normalize(layers.pad_to(view, sizes.padded(size)))
            final = self.model.apply(variables, view, train=False).final
            return {name: value[:, : size[0], : size[1]] for name, value in final.items()}

        plain = network(padded)
        merged = views.merge(network, self.tasks, padded, plain)
        return tuple(
            {name: value[:, :height, :width] for name, value in predictions.items()}
            for predictions in (plain, merged)
        )

    def image_factors(self, batch: Mapping[str, jax.Array]) -> jax.Array | None:
        """[B] float32, what `loss` multiplies each image's losses by; None for nothing."""
        if self.loss_average != "labels":
            return None

        def labels(targets, valid):
            one = jax.tree.map(lambda array: array[None], (targets, valid))
            return sum(task.labelled(one[0][n], one[1]) for n, task in self.tasks.items())

        targets = {name: task.targets(batch) for name, task in self.tasks.items()}
        return len(self.tasks) / jnp.maximum(jax.vmap(labels)(targets, batch["valid"]), 1)

    def loss(
        self,
        name: str,
        prediction: jax.Array,
        targets: Any,
        valid: jax.Array,
        factors: jax.Array | None = None,
    ) -> jax.Array:
        """The training loss of one task on a batch, as `loss_average` says.

        Args:
          name: of the task.
          prediction, targets, valid: as of `Task.loss`.
          factors: of `image_factors`.
        """
        task = self.tasks[name]
        if self.loss_average == "pixels":
            return task.loss(prediction, targets, valid)

        def of_image(*image):
            return task.loss(*jax.tree.map(lambda array: array[None], image))

        losses = jax.vmap(of_image)(prediction, targets, valid)
        if factors is not None:
            losses *= factors
        return jnp.sum(losses) / jnp.maximum(jnp.sum(valid), 1)

    def denominator(self, name: str, targets: Any, valid: jax.Array) -> jax.Array:
        """What `loss` divides a sum by; arguments as of it."""
        if self.loss_average == "pixels":
            return self.tasks[name].denominator(targets, valid)
        return jnp.sum(valid, dtype=jnp.float32)

    def trained_tasks(self, learned: Collection[str]) -> dict[str, Task]:
        """{name: Task} of those that can be predicted: `learned`, and so is what they need."""
        return {
            name: task
            for name, task in self.tasks.items()
            if all(n in learned for n in (name, *task.needs))
        }


def build(config, label_specs: dict[str, dict]) -> System:
    """Builds model, tasks and weighting from a run's config.

    Args:
      config: the whole config.
      label_specs: {key: `LabelSpec.as_dict()`} of the data set.

    Raises:
      ConfigError: some part of the config is impossible; the message names the key.
    """
    chosen = {name: config.tasks[name] for name in options.task_order(config)}
    all_tasks = tasks.build(chosen, label_specs)
    channels = {name: task.channels for name, task in all_tasks.items()}
    unlabelled = [name for name, task in all_tasks.items() if task.key not in label_specs]
    model = network(config, channels)
    mean, std = encoders.image_statistics(config.model)
    weighting = weightings.build(config.weighting, all_tasks)
    check_penalties(model, weighting)
    return System(
        model=model,
        tasks=all_tasks,
        weighting=weighting,
        image_mean=mean,
        image_std=std,
        deep_supervision=config.train.deep_supervision,
        supervision_weights=tuple(config.train.deep_supervision_weights),
        freezing=freezing.build(config.train, model, tuple(all_tasks), unlabelled),
        loss_average=config.train.loss_average,
        remat=config.train.remat,
    )


def check(config) -> None:
    """Refuses what the config alone shows to be impossible; no data are opened, nothing computed.

    `build` refuses the same, and what the labels show besides.

    Args:
      config: the whole config.

    Raises:
      ConfigError: some part of it is impossible; the message names the key.
    """
    model = network(config)
    freezing.build(config.train, model, tuple(config.tasks))
    # Of tasks whose labels are not known yet it is the names that a method has to fit.
    named = dict.fromkeys(config.tasks, types.SimpleNamespace(classification=False))
    check_penalties(model, weightings.build(config.weighting, named))
    views.build(config.eval.tta)


def network(config, channels: Mapping[str, int] | None = None) -> nn.Module:
    """The network of a run's config, which takes its training images; nothing is computed.

    Args:
      config: the whole config.
      channels: {task: outputs}; by default one for each, which is enough to see whether the parts
        fit each other, where no data set says how many classes there are.

    Raises:
      ConfigError: parts do not fit each other or the training images; the message says which do.
    """
    check_ranges(config)
    model = architectures.build(config.model, channels or dict.fromkeys(config.tasks, 1))
    crop = tuple(config.data.augment.crop)
    if any(crop):
        layers.image_sizes(model).check(crop, where=f"config.data.augment.crop={crop}")
    return model


def check_ranges(config) -> None:
    """Raises ConfigError if a decoder predicts metres, and its task takes them for something else.

    `config.model.decoder.ranges` are in the task's own unit, so nothing is left to normalise.
    """
    ranges = config.model.get("decoder", {}).get("ranges", {})
    for name in set(ranges) & set(config.tasks):
        if (found := config.tasks[name].get("normalization", "none")) != "none":
            raise ConfigError(
                f"config.model.decoder.ranges has {name}, which is then predicted in its own unit. "
                f"Expected config.tasks.{name}.normalization='none', found {found!r}."
            )


def check_penalties(model: nn.Module, weighting: weightings.Weighting) -> None:
    """Raises ConfigError if a network adds to the loss what a weighting has no place for."""
    added = ", ".join(getattr(model, "penalties", ()))
    if added and (weighting.needs_gradients or weighting.needs_held_out):
        raise ConfigError(
            f"The network adds {added} to the loss, which is no task's, and config.weighting.name "
            "is a method that combines the gradients of tasks. Use a weighting of losses, such as "
            f"'fixed', or turn it off by config.model.{added}=0."
        )
