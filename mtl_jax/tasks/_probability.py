"""What tasks share that predict one probability for each pixel."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mtl_jax import losses
from mtl_jax._options import Option, one_of
from mtl_jax.pictures import maps as visualization
from mtl_jax.tasks._task import Task

UNKNOWN = -1.0  # in targets, which are float32 0 ... 1

IGNORED = Option(
    "nowhere",
    "how pixels without a label count in the loss, in an image with others: 'nowhere', or as "
    "'negatives', which are then among the pixels it is divided by, as in the survey",
    one_of("nowhere", "negatives"),
)


class Probability(Task):
    """One logit for each pixel, or two, whose difference is that logit.

    Attributes:
      ignored: how pixels without a label count in the loss, see `IGNORED`.
    """

    ignored: str

    classification = True
    absent = UNKNOWN

    def logit(self, prediction: jax.Array) -> jax.Array:
        """[B, H, W, C] ─► [B, H, W] float32."""
        prediction = prediction.astype(jnp.float32)
        return prediction[..., 0] if self.channels == 1 else prediction[..., 1] - prediction[..., 0]

    def balanced_loss(
        self,
        prediction: jax.Array,
        targets: jax.Array,
        valid: jax.Array,
        positive_weight: float | None,
    ) -> jax.Array:
        """`losses.balanced_binary_cross_entropy`; arguments as of `loss`."""
        self.check(prediction, targets)
        return losses.balanced_binary_cross_entropy(
            self.logit(prediction),
            jnp.where(targets == UNKNOWN, 0.0, targets),
            self.loss_mask(targets, valid),
            positive_weight=positive_weight,
        )

    def loss_mask(self, targets: jax.Array, valid: jax.Array) -> jax.Array:
        """[B, H, W] bool, the pixels that count in the loss: none of an unlabelled image."""
        known = self.mask(targets, valid)
        if self.ignored == "negatives":
            return jnp.broadcast_to(known.any(axis=(1, 2), keepdims=True), known.shape)
        return known

    def postprocess(self, prediction: jax.Array) -> dict[str, jax.Array]:
        """{task: [B, H, W] float32}, the probability."""
        return {self.name: jax.nn.sigmoid(self.logit(prediction))}

    def to_average(self, prediction: jax.Array, *, mirrored: bool, zoom: float) -> jax.Array:
        """[B, h, w, 2], the probabilities of no and yes; a mirror image changes neither."""
        del mirrored, zoom
        logit = self.logit(prediction)
        return jax.nn.sigmoid(jnp.stack([-logit, logit], axis=-1))

    def from_average(self, average: jax.Array) -> jax.Array:
        """[B, H, W, C] logits whose probability is the average one."""
        logs = jnp.log(jnp.maximum(average, jnp.finfo(jnp.float32).tiny))
        return logs if self.channels == 2 else logs[..., 1:] - logs[..., :1]

    def visualize(self, value: np.ndarray) -> np.ndarray:
        return visualization.depth_picture(value, self._scale, invalid=UNKNOWN)

    def panel(self, image: np.ndarray, value: np.ndarray) -> visualization.Panel:
        """The map over the photograph without its colours, with a colour bar."""
        return dataclasses.replace(super().panel(image, value), depth_scale=self._scale)

    def encode(self, value: np.ndarray) -> tuple[bytes, str, str]:
        """An 8-bit grey PNG of 255 times the probability, cut off."""
        return visualization.encode_share_png(value), ".png", ""

    def describe(self) -> dict[str, Any]:
        return super().describe() | {"range": [0.0, 1.0], "file": "share_png"}

    @property
    def _scale(self) -> visualization.DepthScale:
        return visualization.DepthScale(0.0, 1.0, "", colormap=visualization.SHARE_COLORMAP)
