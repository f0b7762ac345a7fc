"""Work directories as runs and sweeps leave them, written by hand."""

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from mtl_jax.configs import branched
from mtl_jax.runs import files, workdir

CLASSES = ("road", "car", "train")
IMAGES = 5


def config(**changes):
    """configs/branched.py:streets_scratch with dotted keys changed, '__' for the dot."""
    made = branched.get_config("streets_scratch")
    made.update_from_flattened_dict({key.replace("__", "."): v for key, v in changes.items()})
    return made


def metrics(miou: float, si_log_rmse: float) -> dict[str, float | None]:
    return {
        "semseg/loss": 0.5,
        "semseg/miou": miou,
        "semseg/miou_all": miou,
        "semseg/pixel_accuracy": 0.9,
        "semseg/iou/road": 0.9,
        "semseg/iou/car": miou,
        "semseg/iou/train": None,
        "depth/loss": 0.1,
        "depth/si_log_rmse": si_log_rmse,
        "depth/abs": 2.0,
        "depth/rel": 0.25,
        "loss": 0.6,
        "multitask_score": 20.0 + 100 * miou,
    }


def run(path: Path, *, miou: float = 0.5, si_log_rmse: float = 30.0, tasks=(), **changes) -> Path:
    """A finished run of two evaluations, of which the last is the best."""
    made = config(**changes)
    for task in set(made.tasks) - set(tasks or made.tasks):
        del made.tasks[task]
    made.eval.selection = "multitask_score"
    if tasks:
        made.eval.selection = {"semseg": "semseg/miou", "depth": "depth/si_log_rmse"}[tasks[0]]
        made.eval.selection_mode = {"semseg": "max", "depth": "min"}[tasks[0]]
    directory = workdir.Workdir(path)
    directory.create()
    directory.claim(made)
    files.write_json(directory.label_specs, _label_specs())
    found = metrics(miou, si_log_rmse)
    own = {k: v for k, v in found.items() if "/" not in k or k.split("/")[0] in made.tasks}
    if len(made.tasks) == 1:
        del own["multitask_score"]
    evaluations = [
        {"step": 10, "epoch": 1.0, "train_seconds": 3.0, "metrics": own | {"loss": 0.8}},
        {"step": 20, "epoch": 2.0, "train_seconds": 6.0, "metrics": own},
    ]
    directory.write_evaluations(evaluations)
    for step in (5, 10, 15, 20):
        entry = {"step": step, "epoch": step / 10, "loss": 1 / step, "learning_rate": 0.1}
        for task in made.tasks:
            entry |= {f"loss/{task}": 1 / step, f"weight/{task}": 0.5}
        directory.append_training(entry)
    results = {
        "name": made.name,
        "finished": True,
        "selection": made.eval.selection,
        "split": "validation",
        "best": evaluations[1],
        "last": evaluations[1],
        "mean_of_last_10": own | {"loss": 0.7},
        "evaluations": 2,
        "steps": 20,
        "train_seconds": 3723.0,
        "images_per_second": 12.34,
        "parameters": 1234567,
        "peak_memory": {"host": 3 * 2**30, "device": None},
        "devices": "1 × cpu",
    }
    files.write_json(directory.results, results)
    _pictures(directory, made)
    return path


def sweep(path: Path, rows: list[dict]) -> Path:
    """sweep.json; the rows' directories are written by `run`."""
    path.mkdir(exist_ok=True)
    common = {"overrides": {}, "published": [], "state": "done", "error": None}
    made = {"name": "study_streets", "protocol": "streets", "rows": [common | row for row in rows]}
    files.write_json(path / "sweep.json", made)
    return path


def published(metric: str, value: float, our_metric: str | None, factor: float | None) -> dict:
    return {
        "id": "B-x",
        "source": "B",
        "label": "joint: adam",
        "metric": metric,
        "value": value,
        "our_metric": our_metric,
        "factor": factor,
    }


def study(tmp_path: Path) -> Path:
    """Two optimizers at three rates, published; a row that failed and one that has not begun."""
    folder = tmp_path / "study"
    rows = []
    for optimizer in ("adam", "sgd"):
        for rate in (0.001, 0.01, 0.1):
            name = f"{optimizer}_{rate}"
            miou = 0.5 + rate + 0.01 * (optimizer == "adam")
            changes = {"optimizer.name": optimizer, "schedule.learning_rate": rate}
            run(folder / name, miou=miou, **{k.replace(".", "__"): v for k, v in changes.items()})
            rows.append({"name": name, "overrides": changes})
    rows[0]["published"] = [
        published("semseg_miou", 60.0, "semseg/miou_all", 100.0),
        published("train_loss", 0.2, None, None),
    ]
    for name, state, error in (
        ("bad|row", "failed", "Exit <1>\n``` | x"),
        ("later", "pending", None),
    ):
        overrides = {"optimizer.name": "adam", "schedule.learning_rate": 1.0}
        rows.append({"name": name, "overrides": overrides, "state": state, "error": error})
    return sweep(folder, rows)


def _pictures(directory: workdir.Workdir, made) -> None:
    """Examples, worst images, and what is known of every image."""
    directory.predictions.mkdir()
    values = {"semseg/miou": [0.5, 0.1, 0.7, None, 0.2], "depth/si_log_rmse": [30, 20, 50, 10, 40]}
    directions = {"semseg/miou": "max", "depth/si_log_rmse": "min"}
    worst = {"semseg": ["id_1", "id_4"], "depth": ["id_2", "id_4"]}
    names = ["example_0"]
    for task in made.tasks:
        names += [f"worst_{task}_{rank}" for rank in range(2)]
    for name in names:
        (directory.predictions / f"{name}.png").write_bytes(png())
    metrics = [m for m in values if m.split("/")[0] in made.tasks]
    counts = np.array([[90, 10, 0], [5, 15, 0], [0, 0, 0]])
    confusion = {"semseg": counts.tolist()} if "semseg" in made.tasks else {}
    found = {
        "step": 20,
        "split": "validation",
        "images": {"id": [f"id_{i}" for i in range(IMAGES)]} | {m: values[m] for m in metrics},
        "directions": {m: directions[m] for m in metrics},
        "worst": {task: worst[task] for task in made.tasks},
        "confusion": confusion,
    }
    files.write_json(directory.best_evaluation, found)


def png() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((4, 20, 3), np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


def _label_specs() -> dict:
    palette = [[0, 0, 0], [255, 0, 0], [0, 255, 0]]
    return json.loads(
        json.dumps(
            {
                "image": {"kind": "image"},
                "semseg": {"kind": "classes", "class_names": CLASSES, "palette": palette},
                "depth": {
                    "kind": "depth",
                    "unit": "m",
                    "valid_range": [1.0, 100.0],
                    "mean": 20.0,
                    "stddev": 10.0,
                    "invalid": 0.0,
                },
            }
        )
    )
