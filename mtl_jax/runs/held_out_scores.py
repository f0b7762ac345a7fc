"""How much worse than single-task runs a model is on the training examples that are held out."""

import copy
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from mtl_jax import metrics, parallel
from mtl_jax.evaluation import Evaluator
from mtl_jax.runs import baselines, files
from mtl_jax.runs.baselines import BaselineError
from mtl_jax.runs.workdir import Workdir
from mtl_jax.system import System
from mtl_jax.tasks import Task
from mtl_jax.train_state import TrainState

SPLIT = "held_out"  # what the input pipeline calls it
_CHECKPOINT = "latest"  # of the baselines: none that was chosen by what it is compared on
_SAME = ("seed", "data.held_out", "data.train_split")  # what says which examples are held out


@dataclasses.dataclass(frozen=True)
class Scores:
    """How much worse than single-task runs a model is on what is held out, after each epoch.

    Attributes:
      system: whose weighting gets the scores.
      evaluator: of the system.
      batches: makes a fresh iterator over the held-out images.
      references: {'<task>/<metric>': value} of the single-task runs.
      steps_per_epoch: of the training.
      mesh: from `parallel.make_mesh`.
    """

    system: System
    evaluator: Evaluator
    batches: Callable[[], Iterable[dict[str, np.ndarray]]]
    references: Mapping[str, float]
    steps_per_epoch: int
    mesh: Mesh

    def due(self, step: int) -> bool:
        """Whether the model of `step` is scored."""
        return step % self.steps_per_epoch == 0

    def told(self, state: TrainState) -> TrainState:
        """The state, with a weighting that knows the scores of its model.

        Raises:
          BaselineError: a metric is not finite.
        """
        found = self.evaluator(state.variables, self.batches())
        scores = np.array(worse_by(found, self.references, self.system.tasks), np.float32)
        nothing = np.zeros(len(scores), np.float32)

        def tell(memory, scores):
            weighting = self.system.weighting
            return weighting.end_epoch(memory, nothing, nothing > 0, scores)

        tell = jax.jit(tell, out_shardings=parallel.replicated(self.mesh))
        return dataclasses.replace(state, weighting=tell(state.weighting, scores))


def worse_by(
    found: Mapping[str, float], references: Mapping[str, float], tasks: Mapping[str, Task]
) -> list[float]:
    """By how many per cent each task is worse: the mean over what the field's tables have of it.

    Raises:
      BaselineError: a metric is missing or not finite.
    """
    _, several = baselines.directions(references, tasks, ())
    scores = []
    for task in tasks:
        own = {name: way for name, way in several.items() if name.partition("/")[0] == task}
        try:
            scores.append(-metrics.delta_m("mean_within_tasks", found, references, own))
        except ValueError as error:
            raise BaselineError(
                f"Task {task!r} has no score on what is held out. {error}"
            ) from error
    return scores


def references(
    directories: Sequence[str], config: Any, tasks: Mapping[str, Task]
) -> dict[str, float]:
    """The metrics of single-task runs on what this run holds out too.

    Args:
      directories: of the runs, or of several seeds, of which this run's is meant.
      config: of this run.
      tasks: {name: Task}.

    Raises:
      BaselineError: one is missing, or was trained or evaluated on other examples.
    """
    how = (
        "Train each task alone with the same config.seed, config.data.train_split and "
        f"config.data.held_out, then --mode=evaluate --config.eval.split={SPLIT} "
        f"--config.eval.checkpoint={_CHECKPOINT}, and name the directories in "
        "config.weighting.baselines."
    )
    like = copy.deepcopy(files.to_json(config))
    like["eval"]["split"] = SPLIT
    mine, homes = files.flatten(like), []
    for path in directories:
        home = Workdir(path)
        home = home.seeds().get(str(config.seed), home)
        theirs = files.flatten(home.read_config())
        for key in _SAME:
            if theirs.get(key) != mine[key]:
                raise BaselineError(
                    f"{home.path} has other examples held out than this run: {key}="
                    f"{theirs.get(key)!r} there, {mine[key]!r} here. {how}"
                )
        homes.append(home)
    found = baselines.read(homes, like, _CHECKPOINT)
    lacking = [task for task in tasks if f"{task}/loss" not in found]
    if lacking:
        raise BaselineError(
            f"config.weighting.name={config.weighting.name} compares every task with a "
            f"single-task run, and config.weighting.baselines has none of {', '.join(lacking)}. "
            f"{how}"
        )
    return found
