"""Networks side by side, one of them for each task, that exchange features after their stages."""

from collections.abc import Mapping
from typing import Any

import jax
from flax import linen as nn

from mtl_jax import _options, encoders, layers
from mtl_jax._options import Option
from mtl_jax.architectures import Predictions
from mtl_jax.encoders import resnet
from mtl_jax.errors import ConfigError
from mtl_jax.heads import branches


def _check_runs(value) -> str | None:
    is_section = isinstance(value, Mapping)
    fits = is_section and all(isinstance(where, str) and where for where in value.values())
    return None if fits else "{task: path of a work directory}"


OPTIONS = {
    # They look into the stages of this one encoder.
    "encoder": _options.Part(encoders, "resnet", "of every task", only=("resnet",)),
    **branches.OPTIONS,
    "single_task": Option(
        {},
        "{task: work directory of a run of that task alone}, whose weights it starts from",
        _check_runs,
    ),
}


def parts(options, channels: Mapping[str, int]) -> dict[str, Any]:
    """The fields of `SideBySide` from `OPTIONS`.

    Raises:
      ConfigError: `single_task` names what is no task, or not every task.
    """
    given = dict(options.single_task)
    if given and set(given) != set(channels):
        raise ConfigError(
            f"config.model.single_task has {', '.join(given)}, and the tasks are "
            f"{', '.join(channels)}; give each of them the work directory of its own run, or none."
        )
    branch = branches.build(options, channels)
    encoder = {task: encoders.build(options.encoder, dtype=branch.dtype) for task in channels}
    return {"encoder": encoder, "channels": dict(channels), "branch": branch}


class SideBySide(nn.Module):
    """Per task: stem ─► stages 1 to 4 ─► branch; `exchange` comes after the stem and every stage.

    Attributes:
      encoder: {name: encoder}, one for each task and maybe more, the modules `encoder_<name>`.
      channels: {task: outputs}.
      branch: what each task has at its end.
    """

    encoder: dict[str, resnet.ResNet]
    channels: dict[str, int]
    branch: branches.Branch

    def exchange(
        self, number: int, maps: dict[str, jax.Array], *, train: bool
    ) -> dict[str, jax.Array]:
        """{name: [B, h, w, c]} after stage `number`, 0 for the stem ─► the same, mixed.

        Of what is returned after the last stage only the tasks' maps are read.
        """
        raise NotImplementedError

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> Predictions:
        """Normalised image [B, H, W, 3] ─► {task: [B, H, W, C]} float32."""
        stems = {name: e.stem(image, train=train) for name, e in self.encoder.items()}
        maps = {name: self.encoder[name].pooled(stem) for name, stem in stems.items()}
        maps = self.exchange(0, maps, train=train)
        stages = []
        for number in range(1, 1 + resnet.STAGES):
            maps = {
                name: self.encoder[name].stage(number, x, train=train)[1]
                for name, x in maps.items()
            }
            maps = self.exchange(number, maps, train=train)
            stages.append(maps)
        final = {}
        for task, outputs in self.channels.items():
            own = [of_stage[task] for of_stage in stages]
            pyramid = self.encoder[task].pyramid(image, stems[task], own)
            predictions, _ = self.branch(pyramid, outputs, task=task, train=train)
            final[task] = layers.resize_bilinear(predictions, image.shape[1:3])
        return Predictions(final=final)
