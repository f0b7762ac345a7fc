"""What can be had on Streets without seeing context, and what a trained model adds.

Three baselines are fitted on the training split and scored on the validation split:

* position prior: the most frequent class at every position of the image;
* colour and position: a random forest on a pixel's own colour and position, nothing around it;
* row mean: the mean depth of every row of the image.

    python -m benchmarks.streets_baselines --workdir=runs/branched_streets \
        --workdir=runs/branched_streets_scratch --figure=docs/images/streets.png

prints them, and the last checkpoint of each work directory, as one Markdown table.
"""

import argparse
import json
import pathlib

import numpy as np
from PIL import Image

from input_pipeline import datasets, pipeline

_BINS = 48  # of every feature of the forest
_KEYS = ("image", "semseg", "depth")


def read(builder, split: str, count: int) -> list[dict[str, np.ndarray]]:
    """`count` examples, evenly spread over the split (all of it if it has no more)."""
    stream = pipeline.EvalStream(builder, split=split, keys=_KEYS, batch_size=1)
    wanted = set(
        np.linspace(0, stream.num_examples - 1, min(count, stream.num_examples)).astype(int)
    )
    batches = enumerate(stream.batches())
    return [{key: batch[key][0] for key in _KEYS} for k, batch in batches if k in wanted]


def confusion(truth: np.ndarray, prediction: np.ndarray, classes: int) -> np.ndarray:
    """[classes, classes] counts, rows are the truth; ignored pixels are left out."""
    valid = truth < classes
    index = truth[valid].astype(np.int64) * classes + prediction[valid]
    return np.bincount(index, minlength=classes * classes).reshape(classes, classes)


def mean_iou(matrix: np.ndarray) -> float:
    """Mean intersection over union of the classes that occur in the truth."""
    intersection = np.diag(matrix).astype(np.float64)
    union = matrix.sum(0) + matrix.sum(1) - intersection
    occurring = matrix.sum(1) > 0
    return float(np.mean(intersection[occurring] / union[occurring]))


def position_prior(train: list[dict], classes: int) -> np.ndarray:
    """The most frequent class [H, W] at every position."""
    counts = np.zeros((classes, *train[0]["semseg"].shape), np.int32)
    for k in range(classes):
        for example in train:
            counts[k] += example["semseg"] == k
    return counts.argmax(0)


def row_mean(train: list[dict]) -> np.ndarray:
    """The mean depth [H] of every row's valid pixels; rows without any take the nearest row's."""
    depth = np.stack([example["depth"] for example in train]).astype(np.float64)
    counts = (depth > 0).sum((0, 2))
    means = depth.sum((0, 2)) / np.maximum(counts, 1)
    known = np.flatnonzero(counts)
    return np.interp(np.arange(len(means)), known, means[known])


def relative_error(examples: list[dict], rows: np.ndarray) -> float:
    """Mean |p − g| / g over all valid pixels."""
    total = count = 0.0
    for example in examples:
        valid = example["depth"] > 0
        truth = example["depth"][valid].astype(np.float64)
        predicted = np.broadcast_to(rows[:, None], valid.shape)[valid]
        total += np.sum(np.abs(predicted - truth) / truth)
        count += truth.size
    return total / count


def features(image: np.ndarray, edges: np.ndarray | None = None) -> np.ndarray:
    """Per pixel [H·W, 9]: colour, brightness, chromaticity, colour differences, position.

    With `edges` [9, bins − 1], the bin of every value instead, as uint8.
    """
    height, width, _ = image.shape
    red, green, blue = (image[..., k].astype(np.float32) for k in range(3))
    total = red + green + blue + 1
    y, x = np.mgrid[:height, :width].astype(np.float32)
    columns = [red, green, blue, total, red / total, blue / total, green - blue, y, x]
    values = np.stack([column.ravel() for column in columns], 1)
    if edges is None:
        return values
    bins = [np.searchsorted(edges[k], values[:, k]) for k in range(values.shape[1])]
    return np.stack(bins, 1).astype(np.uint8)


class Forest:
    """Random forest on binned features: bootstrap samples, four random features per split, Gini.

    Breiman: Random Forests (2001).
    """

    def __init__(self, binned, labels, classes: int, *, trees=10, depth=14, least=40, seed=0):
        generator = np.random.default_rng(seed)
        self.classes = classes
        self.trees = []
        for _ in range(trees):
            chosen = generator.integers(0, len(labels), len(labels))
            nodes: list = []
            self._grow(binned[chosen], labels[chosen], depth, least, generator, nodes)
            self.trees.append(nodes)

    def _grow(self, binned, labels, depth, least, generator, nodes) -> int:
        """Appends a subtree to `nodes` and returns its root's index."""
        here = len(nodes)
        counts = np.bincount(labels, minlength=self.classes)
        nodes.append(counts / counts.sum())
        if depth == 0 or len(labels) < 2 * least or counts.max() == len(labels):
            return here
        best = (0.0, None, None)
        for feature in generator.choice(binned.shape[1], 4, replace=False):
            index = binned[:, feature].astype(np.int64) * self.classes + labels
            table = np.bincount(index, minlength=_BINS * self.classes).reshape(_BINS, -1)
            left = table.cumsum(0)[:-1].astype(np.float64)
            right = counts - left
            in_left, in_right = left.sum(1), right.sum(1)
            allowed = (in_left >= least) & (in_right >= least)
            purity = (left**2).sum(1) / np.maximum(in_left, 1)
            purity += (right**2).sum(1) / np.maximum(in_right, 1)
            gain = np.where(
                allowed, purity - (counts.astype(np.float64) ** 2).sum() / len(labels), 0
            )
            at = int(gain.argmax())
            if gain[at] > best[0]:
                best = (gain[at], int(feature), at)
        _, feature, at = best
        if feature is None:
            return here
        left = binned[:, feature] <= at
        first = self._grow(binned[left], labels[left], depth - 1, least, generator, nodes)
        second = self._grow(binned[~left], labels[~left], depth - 1, least, generator, nodes)
        nodes[here] = (feature, at, first, second)
        return here

    def predict(self, binned: np.ndarray) -> np.ndarray:
        """The class of every row of binned features."""
        votes = np.zeros((len(binned), self.classes), np.float32)
        for nodes in self.trees:
            stack = [(0, np.arange(len(binned)))]
            while stack:
                node, rows = stack.pop()
                if not rows.size:
                    continue
                if not isinstance(nodes[node], tuple):
                    votes[rows] += nodes[node]
                    continue
                feature, at, first, second = nodes[node]
                left = binned[rows, feature] <= at
                stack += [(first, rows[left]), (second, rows[~left])]
        return votes.argmax(1)


def fit_forest(train: list[dict], classes: int, pixels: int) -> tuple[Forest, np.ndarray]:
    """A forest on random pixels of all examples, and the edges of its bins."""
    generator = np.random.default_rng(1)
    values, labels = [], []
    for example in train:
        truth = example["semseg"].ravel()
        chosen = generator.choice(np.flatnonzero(truth < classes), pixels // len(train))
        values.append(features(example["image"])[chosen])
        labels.append(truth[chosen])
    values, labels = np.concatenate(values), np.concatenate(labels).astype(np.int64)
    edges = np.quantile(values, np.arange(1, _BINS) / _BINS, axis=0).T
    binned = np.stack([np.searchsorted(edges[k], values[:, k]) for k in range(len(edges))], 1)
    return Forest(binned.astype(np.uint8), labels, classes), edges


def figure(examples: list[dict], specs, path: pathlib.Path) -> None:
    """Saves image, semantics and inverse depth of a few examples, a row each."""
    palette = np.full((256, 3), 255, np.uint8)
    palette[: len(specs["semseg"].palette)] = specs["semseg"].palette
    rows = []
    for example in examples:
        depth = example["depth"][..., None]
        near = np.where(depth > 0, 4 / np.maximum(depth, 4), 0) ** 0.5
        shade = np.concatenate([near, near**2, 1 - near], -1) * (depth > 0) * 255
        parts = [example["image"], palette[example["semseg"]], shade.astype(np.uint8)]
        rows.append(np.concatenate(parts, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(rows)).save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="streets")
    parser.add_argument("--data_dir", default="")
    parser.add_argument("--train_examples", type=int, default=500)
    parser.add_argument("--validation_examples", type=int, default=250)
    parser.add_argument("--pixels", type=int, default=150_000, help="that the forest is fitted to")
    parser.add_argument("--workdir", action="append", default=[], help="of a trained model")
    parser.add_argument("--figure", default="", help="where to save a picture of examples")
    flags = parser.parse_args()

    builder = datasets.load(flags.dataset, data_dir=flags.data_dir)
    classes = len(builder.label_specs["semseg"].class_names)
    train = read(builder, "train", flags.train_examples)
    validation = read(builder, "validation", flags.validation_examples)
    prior = position_prior(train, classes)
    forest, edges = fit_forest(train, classes, flags.pixels)
    by_prior = np.zeros((classes, classes), np.int64)
    by_forest = np.zeros((classes, classes), np.int64)
    for example in validation:
        truth = example["semseg"]
        by_prior += confusion(truth, prior, classes)
        predicted = forest.predict(features(example["image"], edges)).reshape(truth.shape)
        by_forest += confusion(truth, predicted, classes)
    rows = [
        ("position prior", f"{mean_iou(by_prior):.1%}", "–"),
        ("pixel's colour and position (random forest)", f"{mean_iou(by_forest):.1%}", "–"),
        ("mean depth of the row", "–", f"{relative_error(validation, row_mean(train)):.3f}"),
    ]
    for path in flags.workdir:
        name = json.loads(pathlib.Path(path, "config.json").read_text())["name"]
        results = json.loads(pathlib.Path(path, "results.json").read_text())
        metrics = results["last"]["metrics"]
        rows.append(
            (
                f"{name}, {results['steps']:,} steps",
                f"{metrics['semseg/miou']:.1%}",
                f"{metrics['depth/rel']:.3f}",
            )
        )
    print("| | mIoU of the classes that occur | depth, mean relative error |\n|---|---|---|")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    if flags.figure:
        figure(validation[:4], builder.label_specs, pathlib.Path(flags.figure))


if __name__ == "__main__":
    main()
