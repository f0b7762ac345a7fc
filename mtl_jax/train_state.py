"""Everything that a run has to remember between two steps."""

from typing import Any

import flax.struct
import jax


@flax.struct.dataclass
class TrainState:
    """The state of a run: what checkpoints save.

    Attributes:
      step: int32 scalar, updates made so far.
      params: {'model': ..., 'weighting': ...}, what the optimizer trains.
      batch_stats: running statistics of BatchNorm.
      opt_state: of the optax chain.
      weighting: state of the weighting.
      epoch_losses: {task: (sum, count)} of the unweighted losses over this epoch's batches with a
        label of the task, which is what weightings that work by epochs see.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    weighting: Any
    epoch_losses: dict[str, tuple[jax.Array, jax.Array]]

    @property
    def variables(self) -> dict[str, Any]:
        """The model's variables, as `Module.apply` takes them."""
        return {"params": self.params["model"], "batch_stats": self.batch_stats}
