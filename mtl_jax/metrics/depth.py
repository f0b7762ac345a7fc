"""Metrics of depth maps."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from mtl_jax.metrics._arithmetic import ratio

# Depths are raised to this (in their own unit) before logarithms (reports A, B).
LOG_FLOOR = 0.01


def depth_sums(
    target: jax.Array,
    prediction: jax.Array,
    mask: jax.Array,
    *,
    unclamped: jax.Array | None = None,
    floor: float = LOG_FLOOR,
) -> dict[str, jax.Array]:
    """Reduces one batch to what `depth_metrics` needs.

    Args:
      target: [B, H, W] float32, the true depth.
      prediction: [B, H, W] float32, in the same unit, already within the valid range.
      mask: [B, H, W] bool, the pixels that count.
      unclamped: [B, H, W] float32, the prediction before it was brought into the range; None: it
        was within.
      floor: least depth that enters a logarithm.

    Returns:
      Scalars: the int32 counts `pixels`, `images` (with a valid pixel), `delta1`, `delta2`,
      `delta3`, and the float32 sums `abs`, `rel`, `sq_rel`, `squared`, `squared_unclamped`,
      `log_squared` over pixels and `si_log`, `image_abs`, `image_rel`, `image_rmse` over images.
    """
    target = jnp.where(mask, target, 1.0)
    prediction = jnp.where(mask, prediction, 1.0)
    error = prediction - target
    unclamped = prediction if unclamped is None else jnp.maximum(unclamped, 0.0)
    unclamped_error = jnp.where(mask, unclamped - target, 0.0)
    log_error = jnp.log(jnp.maximum(target, floor)) - jnp.log(jnp.maximum(prediction, floor))

    pixels = jnp.sum(mask, axis=(1, 2), dtype=jnp.int32)
    divisor = jnp.maximum(pixels, 1)

    def image_mean(values):  # that are 0 outside the mask, as all errors are
        return jnp.sum(values, axis=(1, 2)) / divisor

    # The variance of the log error in two passes: mean(e²) − mean(e)² cancels.
    deviation = jnp.where(mask, log_error - image_mean(log_error)[:, None, None], 0.0)

    def within(bound):
        # Not raised to the floor: of an inverse depth of 0.002, 0.009 is no good estimate.
        near = (prediction < bound * target) & (target < bound * prediction)
        return jnp.sum(mask & near, dtype=jnp.int32)

    return {
        "pixels": jnp.sum(pixels),
        "images": jnp.sum(pixels > 0, dtype=jnp.int32),
        "abs": jnp.sum(jnp.abs(error)),
        "rel": jnp.sum(jnp.abs(error) / target),
        "sq_rel": jnp.sum(jnp.square(error) / target),
        "squared": jnp.sum(jnp.square(error)),
        "squared_unclamped": jnp.sum(jnp.square(unclamped_error)),
        "log_squared": jnp.sum(jnp.square(log_error)),
        "si_log": jnp.sum(jnp.sqrt(image_mean(jnp.square(deviation)))),
        "image_abs": jnp.sum(image_mean(jnp.abs(error))),
        "image_rel": jnp.sum(image_mean(jnp.abs(error) / target)),
        "image_rmse": jnp.sum(jnp.sqrt(image_mean(jnp.square(error)))),
        **{f"delta{power}": within(1.25**power) for power in (1, 2, 3)},
    }


def depth_metrics(sums: Mapping[str, float]) -> dict[str, float]:
    """The metrics of a depth map, from the sums over a whole split.

    With y the truth, ŷ the prediction and e = ln y − ln ŷ, both raised to at least `LOG_FLOOR`
    for e alone:

    * `si_log_rmse`: 100·√(mean(e²) − mean(e)²) per image, averaged over the images that have a
      valid pixel (reports A, B);
    * `abs_per_image`, `rel_per_image`, `rmse_per_image`: the three below of each image, averaged
      over the images that have a valid pixel (the first two: report C at batch size 1; the third:
      report E);

    and, over all valid pixels of the split together,

    * `abs`: mean |y − ŷ|, in the depth's unit;
    * `rel`: mean |y − ŷ| / y, a plain ratio;
    * `sq_rel`: mean (y − ŷ)² / y (Eigen et al. 2014), in the depth's unit;
    * `rmse`: √mean (y − ŷ)², in the depth's unit;
    * `rmse_unclamped`: the same of predictions that were raised to 0, but not clamped to the range
      (the benchmarks of PASCAL-Context and NYUD);
    * `log_rmse`: √mean e², natural logarithm, not scaled;
    * `delta1`, `delta2`, `delta3`: share of the pixels with max(y/ŷ, ŷ/y) < 1.25, 1.25², 1.25³,
      as fractions 0 ... 1.
    """
    pixels, images = sums["pixels"], sums["images"]
    metrics = {"si_log_rmse": 100.0 * ratio(sums["si_log"], images)}
    metrics |= {name: ratio(sums[name], pixels) for name in ("abs", "rel", "sq_rel")}
    metrics["rmse"] = np.sqrt(ratio(sums["squared"], pixels))
    metrics["rmse_unclamped"] = np.sqrt(ratio(sums["squared_unclamped"], pixels))
    metrics["log_rmse"] = np.sqrt(ratio(sums["log_squared"], pixels))
    metrics |= {name: ratio(sums[name], pixels) for name in ("delta1", "delta2", "delta3")}
    metrics |= {
        f"{name}_per_image": ratio(sums[f"image_{name}"], images) for name in ("abs", "rel", "rmse")
    }
    return {name: float(value) for name, value in metrics.items()}
