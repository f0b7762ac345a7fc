"""Arrays of Streets, and runs on them, for the parts that train."""

import argparse
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from input_pipeline import arrays, to_arrays
from mtl_jax.commands import config as configuration


def data(flags: argparse.Namespace) -> Path:
    """The folder of arrays, drawn if it is not there."""
    name = "64x128_tiny" if flags.tiny else "256x512"
    folder = Path(flags.work) / f"streets_{name}"
    if not (folder / "arrays.json").exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        to_arrays.streets(name, folder)
    return folder


def size(flags: argparse.Namespace) -> tuple[int, int]:
    """Of the images."""
    return (64, 128) if flags.tiny else (256, 512)


def config(flags: argparse.Namespace, name: str, **changes: Any) -> ConfigDict:
    """A config that trains on the arrays; `__` stands for the dot of keys."""
    options = {
        "data__dataset": f"{arrays.PREFIX}{data(flags)}",
        "data__resident": True,
        "data__augment__crop": size(flags),
        "model__pretrained": "",
        "model__dtype": "bfloat16",
        "train__batch_size": 2 if flags.tiny else 16,
        "train__steps_per_call": 2 if flags.tiny else 25,
        "train__log_every": 2 if flags.tiny else 100,
        "eval__images": 1,
    }
    chosen = options | changes
    texts = [f"--config.{key.replace('__', '.')}={value}" for key, value in chosen.items()]
    return configuration.load(name, texts)
