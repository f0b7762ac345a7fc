"""The rule by which the golden networks' parameters and inputs are made; see golden/README.md."""

import json
import math
import pathlib
import zlib

import jax
import ml_collections
import numpy as np

GOLDEN = pathlib.Path(__file__).parent / "golden"
CHANNELS = {"semseg": 5, "depth": 1}


def uniform(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """float64 in [−1, 1), from the top 53 bits of Philox's words, keyed by the name's CRC-32."""
    words = np.random.Philox(key=zlib.crc32(name.encode())).random_raw(math.prod(shape))
    return (2.0 * (words >> np.uint64(11)) * 2.0**-53 - 1.0).reshape(shape)


def leaf(path: str, shape: tuple[int, ...]) -> np.ndarray:
    """The array at `path`, e.g. 'encoder/conv1/kernel'."""
    u = uniform(path, shape)
    kind = path.rsplit("/", 1)[-1]
    if kind == "kernel":
        return u * math.sqrt(6.0 / math.prod(shape[:-1]))
    if kind in ("scale", "gamma"):
        return 1 + 0.2 * u
    # Otherwise tokens, and tables of positions.
    return {"bias": 0.2 * u, "mean": 0.2 * u, "var": 1 + 0.5 * u}.get(kind, 0.5 * u)


def fill(variables):
    """A tree like `variables` (both collections), every leaf float64 and made by `leaf`."""

    def make(path, like):
        name = "/".join(key.key for key in path[1:])  # without the collection
        return leaf(name, like.shape)

    return jax.tree_util.tree_map_with_path(make, variables)


def perturbed(tree, size: float, seed: int):
    """`tree`, every number times 1 + size·N(0, 1)."""
    draw = np.random.default_rng(seed).standard_normal
    return jax.tree.map(lambda x: x * (1 + size * draw(x.shape)).astype(x.dtype), tree)


def flat(tree) -> dict[str, np.ndarray]:
    """{path: array}."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {"/".join(key.key for key in path): np.asarray(value) for path, value in leaves}


def names() -> list[str]:
    return sorted(path.stem for path in GOLDEN.glob("*.json"))


def load(name: str) -> dict:
    return json.loads((GOLDEN / f"{name}.json").read_text())


def config(golden: dict) -> ml_collections.ConfigDict:
    """`config.model` of a golden network."""
    options = golden["config"]
    if "model" in options:
        return ml_collections.ConfigDict(options["model"])
    model = ml_collections.ConfigDict(
        {
            "architecture": options["arch"],
            "encoder": {
                "name": "resnet",
                "depth": options["depth"],
                "width": 16,
                "replace_stride_with_dilation": options["flags"],
                "dilation_rule": options["rule"],
                "se": options["encoder_se"],
            },
            "aspp": {"rates": (3, 6, 9), "channels": 32},
            "decoder": {"skip_channels": 16, "channels": 64},
            "se": options["se"],
            "dtype": "float32",
        }
    )
    if options["arch"] == "joint":
        model.aspp.enabled = options["aspp"]
        model.decoder.skip = options["skip"]
    return model
