"""Optimizers, schedules and groups of parameters."""

from mtl_jax.optimizers.build import build, make_optimizer
from mtl_jax.optimizers.groups import (
    COMMON,
    group_of,
    is_encoder,
    is_norm,
    modules_of,
    names_of,
    part_of,
    scale_by_part,
)
from mtl_jax.optimizers.schedules import Schedule, is_open_ended, make_schedule

__all__ = [
    "COMMON",
    "Schedule",
    "build",
    "group_of",
    "is_encoder",
    "is_norm",
    "is_open_ended",
    "make_optimizer",
    "make_schedule",
    "modules_of",
    "names_of",
    "part_of",
    "scale_by_part",
]
