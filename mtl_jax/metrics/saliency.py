"""Metrics of saliency maps: one probability for each pixel, read at many thresholds.

The literature's "maxF" is two different numbers, and two IoUs per image stand beside them; all four
are here under names of their own.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mtl_jax.metrics._arithmetic import ratio

THRESHOLDS = tuple(np.arange(1, 20) / 20)  # 0.05 ... 0.95
SURVEY_THRESHOLDS = tuple(np.linspace(0.2, 0.9, 15))
BETA_SQUARED = 0.3


def saliency_sums(
    truth: jax.Array, probability: jax.Array, mask: jax.Array
) -> dict[str, jax.Array]:
    """Reduces one batch to what `saliency_metrics` needs.

    Args:
      truth: [B, H, W] bool, salient or not.
      probability: [B, H, W] float32, of being salient.
      mask: [B, H, W] bool, the pixels that count.

    Returns:
      By family of thresholds, [T] each: int32 counts of pixels `hits` (said and salient), `said`,
      `true`, and float32 sums over images `iou`, `precision`, `recall`; the scalar `images` with a
      pixel that counts.
    """
    doubled = jax.nn.sigmoid(probability)
    families = {
        "plain": (probability, THRESHOLDS, jnp.greater_equal),
        "doubled": (doubled, THRESHOLDS, jnp.greater_equal),
        "survey": (probability, SURVEY_THRESHOLDS, jnp.greater),
    }
    counts = mask.any(axis=(1, 2))
    sums = {"images": jnp.sum(counts, dtype=jnp.int32)}
    true = jnp.sum(mask & truth, axis=(1, 2), dtype=jnp.int32)
    for family, (score, thresholds, reaches) in families.items():
        # One threshold after the other: all at once would be twenty maps in memory.
        def at(threshold, score=score, reaches=reaches):
            said = mask & reaches(score, threshold)
            hits = jnp.sum(said & truth, axis=(1, 2), dtype=jnp.int32)
            return hits, jnp.sum(said, axis=(1, 2), dtype=jnp.int32)

        hits, said = jax.lax.map(at, jnp.asarray(thresholds, jnp.float32))  # [T, B]
        of_images = {
            "iou": _share(hits, said + true - hits, empty=1.0),
            "precision": _share(hits, said, empty=0.0),
            "recall": _share(hits, jnp.broadcast_to(true, hits.shape), empty=0.0),
        }
        sums[family] = {
            "hits": hits.sum(axis=1),
            "said": said.sum(axis=1),
            "true": jnp.broadcast_to(true.sum(), hits.shape[:1]),
        } | {
            name: jnp.sum(jnp.where(counts, each, 0.0), axis=1) for name, each in of_images.items()
        }
    return sums


def saliency_metrics(sums: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of saliency, from the sums over a whole split; fractions 0 ... 1.

    * `maxF`: max over t = 0.05 ... 0.95 of F with β² = 0.3, p ≥ t, over all pixels together;
    * `maxF_threshold`: the t where it is;
    * `maxF_invpt`: the same of σ(p) ≥ t: a probability went into a meter that takes logits. It is
      what InvPT, TaskPrompter, MLoRE, MTMamba and DiffusionMTL print;
    * `miou_per_image_mtdp`: IoU of the salient pixels of every image, p ≥ t, their mean, the best
      t (MTDP_Lib, SAK); an image without any pixel said or true counts 1;
    * `miou_per_image_survey`: the same with p > t for t = 0.2, 0.25 ... 0.9;
    * `maxF_survey`: F with β = 1 of precision and recall averaged over images, likewise.
    """
    plain, survey = sums["plain"], sums["survey"]
    known = sums["images"] > 0
    f = _f_of_split(plain)
    per_image = {n: ratio(survey[n], sums["images"]) for n in ("iou", "precision", "recall")}
    f_survey = _f(per_image["precision"], per_image["recall"], 1.0)
    found = {
        "maxF": np.max(f),
        "maxF_threshold": THRESHOLDS[int(np.argmax(f))],
        "maxF_invpt": np.max(_f_of_split(sums["doubled"])),
        "miou_per_image_mtdp": np.max(ratio(plain["iou"], sums["images"])),
        "miou_per_image_survey": np.max(per_image["iou"]),
        "maxF_survey": np.max(f_survey),
    }
    return {name: float(value) if known else float("nan") for name, value in found.items()}


def _share(part: jax.Array, whole: jax.Array, *, empty: float) -> jax.Array:
    """part / whole as float32, `empty` where both are 0."""
    return jnp.where(whole == 0, empty, part / jnp.maximum(whole, 1))


def _f_of_split(counts: Mapping[str, np.ndarray]) -> np.ndarray:
    """[T] of F; nothing said or nothing true is a precision or a recall of 0."""
    precision, recall = (
        np.nan_to_num(ratio(counts["hits"], counts[whole])) for whole in ("said", "true")
    )
    return _f(precision, recall, BETA_SQUARED)


def _f(precision: np.ndarray, recall: np.ndarray, beta_squared: float) -> np.ndarray:
    total = beta_squared * precision + recall
    return np.where(
        total == 0, 0.0, (1 + beta_squared) * precision * recall / np.where(total == 0, 1.0, total)
    )
