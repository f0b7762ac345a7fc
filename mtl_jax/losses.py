"""Losses of dense predictions: plain functions of arrays and a mask of the pixels that count.

All of them are float32 whatever the predictions' type, are 0 with zero gradient where no pixel
counts, and are over the *global* batch: under `jax.jit` with the batch axis sharded over devices
the sums below are sums over all of them.

Labels that the mask excludes are never looked at. What it includes is never repaired: a label that
is NaN or outside the class table makes the loss NaN, so that the run stops instead of learning from
it. Predictions have to be finite everywhere: one that is not has a gradient of NaN even where the
mask excludes it.
"""

import jax
import jax.numpy as jnp

# berHu turns from L1 to L2 at this share of the batch's largest error (report B 4.3).
BERHU_THRESHOLD = 0.2

# What `sum_over_count` adds to the number of pixels (report E).
COUNT_OFFSET = 1e-4


def cross_entropy(logits: jax.Array, labels: jax.Array, mask: jax.Array) -> jax.Array:
    """Softmax cross-entropy, the mean over the batch's counting pixels (reports A to D).

    Args:
      logits: [B, H, W, C], any float type.
      labels: [B, H, W] integer, 0 ... C−1 where `mask`. Another id there makes the loss NaN.
      mask: [B, H, W] bool, the pixels that count.

    Returns:
      A float32 scalar.
    """
    logits = logits.astype(jnp.float32)
    ids = jnp.arange(logits.shape[-1], dtype=labels.dtype)
    # Compare-and-sum is a gather whose gradient is elementwise: no scatter, and nothing to
    # communicate when the batch is sharded.
    chosen = jnp.sum(jnp.where(labels[..., None] == ids, logits, 0.0), axis=-1)
    chosen = jnp.where((labels >= 0) & (labels < logits.shape[-1]), chosen, jnp.nan)
    return mean_per_batch(jax.nn.logsumexp(logits, axis=-1) - chosen, mask)


def l1(error: jax.Array) -> jax.Array:
    """|x|, elementwise; with gradient 0 at 0, where that of `jnp.abs` is 1."""
    return error * jnp.sign(error)


def l2(error: jax.Array) -> jax.Array:
    """x², elementwise."""
    return jnp.square(error)


def berhu(error: jax.Array) -> jax.Array:
    """Reverse Huber, elementwise: |x| up to c, (x² + c²) / 2c beyond (report B 4.3).

    c is a fifth of the largest |x| of the whole array, i.e. one value per batch, and a constant
    for the gradient.

    Args:
      error: float32, with 0 at the pixels that do not count.
    """
    magnitude = l1(error)
    c = jax.lax.stop_gradient(BERHU_THRESHOLD * jnp.max(magnitude))
    c = jnp.where(c == 0, 1.0, c)  # all errors are 0, and so is the loss
    # x²/2c as |x|·(|x|/2c): the square of a large error would overflow.
    return jnp.where(magnitude <= c, magnitude, magnitude * (magnitude / (2 * c)) + c / 2)


def scale_invariant_log(
    prediction: jax.Array,
    target: jax.Array,
    mask: jax.Array,
    *,
    mean_alone: bool | jax.Array = False,
) -> jax.Array:
    """√(var g + 0.15 · mean(g)²), g = ln(ŷ + 0.001) − ln(y + 0.001), of all counting pixels.

    "SigLoss" of AdaBins (Bhat et al. 2021; after Eigen et al. 2014) as DINOv2 trains depth with it.
    The variance is the unbiased one.

    Args:
      prediction: [B, H, W] positive depths; what is below 0 counts as 0, with no gradient.
      target: [B, H, W].
      mask: [B, H, W] bool, the pixels that count.
      mean_alone: leave the variance out, as is done in the first 100 updates.

    Returns:
      A float32 scalar; 0 without gradient if no pixel counts.
    """
    prediction = jnp.maximum(prediction.astype(jnp.float32), 0.0)
    g = jnp.where(
        mask, jnp.log(prediction + 1e-3) - jnp.log(jnp.where(mask, target, 1.0) + 1e-3), 0
    )
    count = jnp.sum(mask, dtype=jnp.int32)
    mean = jnp.sum(g) / jnp.maximum(count, 1)
    variance = jnp.sum(jnp.where(mask, jnp.square(g - mean), 0.0)) / jnp.maximum(count - 1, 1)
    square = jnp.where(mean_alone, 0.0, variance) + 0.15 * jnp.square(mean)
    # At 0 the root has no finite gradient. (A NaN is not 0, and stays.)
    return jnp.where(square == 0, 0.0, jnp.sqrt(jnp.where(square == 0, 1.0, square)))


def cosine_distance(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """1 − cos of the angle between unit vectors: [..., C], [..., C] ─► [...]."""
    return 1.0 - jnp.sum(prediction * target, axis=-1)


def l1_per_element(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """|ŷ − y| averaged over the channels: [..., C], [..., C] ─► [...]."""
    return jnp.mean(l1(prediction - target), axis=-1)


def l1_per_pixel(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """|ŷ − y| summed over the channels, C times `l1_per_element`."""
    return jnp.sum(l1(prediction - target), axis=-1)


def mean_per_batch(values: jax.Array, mask: jax.Array) -> jax.Array:
    """The mean over all counting pixels of the batch; 0 if there is none.

    Args:
      values: [B, H, W] float32.
      mask: [B, H, W] bool.
    """
    count = jnp.sum(mask, dtype=jnp.int32)
    return jnp.sum(jnp.where(mask, values, 0.0)) / jnp.maximum(count, 1)


def sum_over_count(values: jax.Array, mask: jax.Array) -> jax.Array:
    """Σ m·v / (Σ m + 10⁻⁴) over the whole batch (report E); 0 if no pixel counts.

    Args:
      values: [B, H, W] float32.
      mask: [B, H, W] bool.
    """
    count = jnp.sum(mask, dtype=jnp.int32)
    return jnp.sum(jnp.where(mask, values, 0.0)) / (count + COUNT_OFFSET)


def mean_per_image(values: jax.Array, mask: jax.Array) -> jax.Array:
    """The mean over each image's counting pixels, then over the images that have any; 0 if none.

    Args:
      values: [B, H, W] float32.
      mask: [B, H, W] bool.
    """
    count = jnp.sum(mask, axis=(1, 2), dtype=jnp.int32)
    means = jnp.sum(jnp.where(mask, values, 0.0), axis=(1, 2)) / jnp.maximum(count, 1)
    return jnp.sum(means) / jnp.maximum(jnp.sum(count > 0, dtype=jnp.int32), 1)


def balanced_binary_cross_entropy(
    logits: jax.Array,
    labels: jax.Array,
    mask: jax.Array,
    *,
    positive_weight: float | jax.Array | None = None,
) -> jax.Array:
    """w·y·softplus(−z) + (1 − w)·(1 − y)·softplus(z), the mean over counting pixels.

    Edges have a fixed w, 0.95 in most papers; saliency takes the share of negative pixels in the
    batch, a constant for the gradient. The sum is divided by the number of pixels, not by that of
    the weights.

    Args:
      logits: [B, H, W], any float type.
      labels: [B, H, W] float, 0 ... 1 where `mask`; soft ones are the expectation over hard ones.
        Another number there makes the loss NaN.
      mask: [B, H, W] bool, the pixels that count.
      positive_weight: w, 0 ... 1; None = the share of 1 − y among the counting pixels.

    Returns:
      A float32 scalar.
    """
    logits = logits.astype(jnp.float32)
    labels = jnp.where(mask, labels.astype(jnp.float32), 0.0)
    labels = jnp.where((labels >= 0) & (labels <= 1), labels, jnp.nan)
    if positive_weight is None:
        count = jnp.sum(mask, dtype=jnp.int32)
        positive_weight = jax.lax.stop_gradient(1.0 - jnp.sum(labels) / jnp.maximum(count, 1))
    positive = positive_weight * labels * jax.nn.softplus(-logits)
    negative = (1.0 - positive_weight) * (1.0 - labels) * jax.nn.softplus(logits)
    return mean_per_batch(positive + negative, mask)
