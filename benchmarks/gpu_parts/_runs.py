"""Arrays of Streets, and runs on them, for the parts that train."""

import argparse
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from input_pipeline import arrays, to_arrays
from mtl_jax.commands import config as configuration

NARROW = {  # of Streets' networks with --tiny
    "model__encoder__width": 8,
    "model__aspp__channels": 8,
    "model__decoder__channels": 8,
}


def name(flags: argparse.Namespace) -> str:
    """Of the configuration of Streets."""
    return "64x128_tiny" if flags.tiny else "256x512"


def data(flags: argparse.Namespace) -> arrays.Arrays:
    """Its arrays, drawn if they are not there."""
    folder = Path(flags.work) / f"streets_{name(flags)}"
    if not (folder / arrays.FILE).exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        to_arrays.streets(name(flags), folder)
    return arrays.Arrays(folder)


def size(flags: argparse.Namespace) -> tuple[int, int]:
    """Of the images."""
    return (64, 128) if flags.tiny else (256, 512)


def config(flags: argparse.Namespace, network: str, **changes: Any) -> ConfigDict:
    """A config that trains on the arrays; `__` stands for the dot of keys."""
    options = {
        "data__dataset": f"{arrays.PREFIX}{data(flags).path}",
        "data__resident": True,
        "data__augment__crop": size(flags),
        "model__pretrained": "",
        "model__dtype": "bfloat16",
        "train__batch_size": 2 if flags.tiny else 16,
        "train__steps_per_call": 1 if flags.tiny else 25,  # a CPU's loops are slow
        "train__log_every": 2 if flags.tiny else 100,
        "eval__images": 1,
    }
    chosen = options | (NARROW if flags.tiny else {}) | changes
    texts = [f"--config.{key.replace('__', '.')}={value}" for key, value in chosen.items()]
    return configuration.load(network, texts)
