"""What a run on Streets makes of photographs: CamVid's classes, mapped from the 19 of Cityscapes.

    python -m benchmarks.photographs --manual_dir=<CamVid> --workdir=<run> --workdir=<another run> \
        --figure=docs/images/photographs.png

prints mean IoU over CamVid's 11 classes and the share of right pixels as one Markdown table, a row
for each work directory; runs that have learned CamVid's classes themselves (a task `camvid`) have a
second row for these. The figure has a row for each photograph: image, truth, and each prediction.
CamVid's photographs and labels are CC BY-NC; `--predictions_only` leaves them out of the figure.
"""

import argparse
import pathlib
from collections.abc import Iterator

import jax
import numpy as np
from PIL import Image

from benchmarks.streets_baselines import confusion, mean_iou
from input_pipeline import datasets, pipeline
from mtl_jax.commands import assembly
from mtl_jax.configs import from_workdir
from mtl_jax.pictures import figures
from mtl_jax.pictures.maps import Panel
from mtl_jax.runs import workdir

# Cityscapes' class ─► CamVid's of the SegNet tutorial, which counts walls as buildings, riders and
# their motorcycles as bicyclists, all that grows as trees, and everything that drives as cars.
CAMVID = {
    "road": "road",
    "sidewalk": "pavement",
    "building": "building",
    "wall": "building",
    "fence": "fence",
    "pole": "pole",
    "traffic light": "sign",
    "traffic sign": "sign",
    "vegetation": "tree",
    "terrain": "tree",
    "sky": "sky",
    "person": "pedestrian",
    "rider": "bicyclist",
    "car": "car",
    "truck": "car",
    "bus": "car",
    "train": "car",
    "motorcycle": "bicyclist",
    "bicycle": "bicyclist",
}


def mapping(names: tuple[str, ...], camvid: tuple[str, ...]) -> np.ndarray:
    """[len(names)] CamVid's id of each class of a run; its own classes stay what they are."""
    return np.array([camvid.index(CAMVID.get(name, name)) for name in names], np.int64)


def predictions(path: str, batches: list[dict]) -> Iterator[tuple[str, tuple[str, ...], list]]:
    """Each segmentation task of a run: (name, class names, [B, H, W] predicted ids per batch)."""
    where = workdir.Workdir(path)
    config = from_workdir.get_config(path)
    parts = assembly.trained(config, where)
    variables, _ = assembly.variables(config, where, parts)

    @jax.jit
    def predict(image):
        outputs = parts.predict(variables, image)
        return {
            name: task.postprocess(outputs[name])[name]
            for name, task in parts.tasks.items()
            if task.class_names
        }

    found = [jax.device_get(predict(batch["image"])) for batch in batches]
    for name in found[0]:
        yield name, parts.tasks[name].class_names, [each[name] for each in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", action="append", required=True, help="of a trained run")
    parser.add_argument("--manual_dir", default="", help="where CamVid lies")
    parser.add_argument("--data_dir", default="")
    parser.add_argument("--split", default="test")
    parser.add_argument("--figure", default="", help="where to save a picture of examples")
    parser.add_argument("--predictions_only", action="store_true", help="in the figure")
    parser.add_argument("--examples", default="10,60,110,160,210", help="in the figure, by number")
    flags = parser.parse_args()

    builder = datasets.load("camvid", data_dir=flags.data_dir, manual_dir=flags.manual_dir)
    spec = builder.label_specs["semseg"]
    stream = pipeline.EvalStream(builder, split=flags.split, keys=("image", "semseg"), batch_size=8)
    batches = list(stream.batches())
    valid = [batch["valid"] for batch in batches]
    images, truth = (
        np.concatenate([batch[key][rows] for batch, rows in zip(batches, valid)])
        for key in ("image", "semseg")
    )
    palette = np.full((256, 3), 255, np.uint8)
    palette[: len(spec.palette)] = spec.palette
    columns = {} if flags.predictions_only else {"photograph": images, "labels": palette[truth]}
    print("| run | classes | mIoU | pixels right |\n|---|---|---|---|")
    for path in flags.workdir:
        for task, names, found in predictions(path, batches):
            ids = mapping(names, spec.class_names)
            found = np.concatenate([ids[each[rows]] for each, rows in zip(found, valid)])
            matrix = confusion(truth, found, len(spec.class_names))
            right = np.diag(matrix).sum() / matrix.sum()
            classes = "its own" if len(names) == len(spec.class_names) else f"of {len(names)}"
            print(f"| {path} | {task}, {classes} | {mean_iou(matrix):.1%} | {right:.1%} |")
            columns[f"{pathlib.Path(path).name}: {task}"] = palette[found]
    if flags.figure:
        legend = tuple(zip(spec.class_names, spec.palette, strict=True))
        numbers = [int(number) for number in flags.examples.split(",")]
        picture = figures.stack(
            [
                [Panel(title, column[number]) for title, column in columns.items()]
                for number in numbers[:-1]
            ]
            + [[Panel(title, c[numbers[-1]], legend=legend) for title, c in columns.items()]],
            width=images.shape[2],
        )
        pathlib.Path(flags.figure).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(flags.figure, optimize=True)


if __name__ == "__main__":
    main()
