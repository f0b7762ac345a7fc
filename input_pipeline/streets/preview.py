"""Draws a contact sheet: image, semantics, depth, instances, parts, normals, a row per example.

python -m input_pipeline.streets.preview --output=streets.png --count=6
"""

import argparse

import numpy as np
from PIL import Image

from input_pipeline.streets.render import example

_CLASSES = np.array(
    [
        (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153),
        (153, 153, 153), (250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152),
        (70, 130, 180), (220, 20, 60), (255, 0, 0), (0, 0, 142), (0, 0, 70), (0, 60, 100),
        (0, 80, 100), (0, 0, 230), (119, 11, 32),
    ],
    np.uint8,
)  # fmt: skip
_PARTS = np.array(
    [(0, 0, 0), (230, 60, 60), (60, 180, 75), (255, 225, 25), (0, 130, 200), (245, 130, 48),
     (145, 30, 180)],
    np.uint8,
)  # fmt: skip


def _coloured(labels: np.ndarray, palette: np.ndarray) -> np.ndarray:
    full = np.full((256, 3), 255, np.uint8)
    full[: len(palette)] = palette
    return full[labels]


def _depth(depth: np.ndarray) -> np.ndarray:
    """Near is bright, in steps of disparity; unknown is black."""
    level = np.where(depth > 0, np.clip(4.0 / np.where(depth > 0, depth, 1), 0.02, 1), 0)
    level = np.sqrt(level)
    colours = np.stack([level, level * level, 1 - level], -1) * (depth > 0)[..., None]
    return (colours * 255).astype(np.uint8)


def _instances(instance: np.ndarray) -> np.ndarray:
    ids = instance.astype(np.int64)
    colours = np.stack([ids * 97 % 223, ids * 57 % 211, ids * 151 % 227], -1) + 28
    return np.where(ids[..., None] > 0, colours, 0).astype(np.uint8)


def row(drawn: dict[str, np.ndarray]) -> np.ndarray:
    """One example's pictures side by side: uint8 [H, 6·W, 3]."""
    pictures = [
        drawn["image"],
        _coloured(drawn["semseg"], _CLASSES),
        _depth(drawn["depth"]),
        _instances(drawn["instance"]),
        _coloured(drawn["parts"], _PARTS),
        ((drawn["normals"] + 1) * 127.5).astype(np.uint8),
    ]
    return np.concatenate(pictures, axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", required=True)
    parser.add_argument("--count", type=int, default=6)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--height", type=int, default=128)
    parser.add_argument("--width", type=int, default=256)
    flags = parser.parse_args()
    rows = [
        row(example(flags.seed, 0, flags.first + k, flags.height, flags.width))
        for k in range(flags.count)
    ]
    Image.fromarray(np.concatenate(rows)).save(flags.output)


if __name__ == "__main__":
    main()
