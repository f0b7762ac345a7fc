"""One label spec of every kind, and random labels that any spec allows."""

import inspect

import numpy as np

from input_pipeline import labels
from input_pipeline.labels import LabelSpec

_GIVEN = {
    "classes": (("road", "sky", "car"), ((1, 2, 3), (4, 5, 6), (7, 8, 9))),
    "depth": ((1.0, 80.0),),
}
_OPTIONS = {"depth": {"mean": 20.0, "stddev": 15.0}}


def specs() -> dict[str, LabelSpec]:
    """{name: spec} of every function of `input_pipeline.labels` that makes one, but the image's."""
    makers = {
        name: function
        for name, function in vars(labels).items()
        if inspect.isfunction(function)
        and inspect.signature(function).return_annotation is LabelSpec
    }
    del makers["image"]
    return {
        name: maker(*_GIVEN.get(name, ()), **_OPTIONS.get(name, {}))
        for name, maker in makers.items()
    }


def array(spec: LabelSpec, size: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """[B, H, W] or [B, H, W, c] labels, some of them unknown where there is a value for that."""
    random = np.random.default_rng(seed)
    if spec.class_names:
        return random.choice([*range(len(spec.class_names)), spec.ignore], size).astype(np.int32)
    if spec.dtype == "int32":  # ids: stripes of three rows, the first without any
        rows = np.arange(size[1], dtype=np.int32)[:, None] // 3
        return np.broadcast_to(rows, size).copy()
    if spec.channels:
        vectors = random.normal(size=(*size, spec.channels))
        return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)
    values = random.uniform(*spec.valid_range, size)
    unknown = random.uniform(size=size) < 0.25
    return np.where(unknown, spec.invalid, values).astype(np.float32)
