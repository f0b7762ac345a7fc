"""The page about a released network: what it does, what it learned from, how good it is."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import yaml

from mtl_jax.metrics.names import is_member, is_variant
from mtl_jax.runs.words import plus_minus
from mtl_jax.weights import published

# {data set: (licence in words, the hub's name of it)}; a test compares them with the data sets.
DATA_LICENCES = {
    "camvid": ("CC BY-NC 4.0, non-commercial use only", "cc-by-nc-4.0"),
    "cityscapes": ("terms of its own, non-commercial use only", "other"),
    "cityscapes_mtan": ("that of Cityscapes, non-commercial use only", "other"),
    "kitti": ("CC BY-NC-SA 3.0, non-commercial use only", "cc-by-nc-sa-3.0"),
    "lip": ("for non-commercial research only", "other"),
    "miniscapes": ("for the course only; see that of Synscapes (7D Labs)", "other"),
    "nyud": ("none known; the data set's page asks to cite the paper", "unknown"),
    "nyuv2": ("none known; the data set's page asks to cite the paper", "unknown"),
    "pascal": ("photographs: Flickr's terms of use; annotations: for research", "other"),
    "pascal_context": ("photographs: Flickr's terms of use; annotations: for research", "other"),
    "streets": ("drawn by this project, Apache-2.0", "apache-2.0"),
}
_OWN_DATA = ("not known to this project: whoever publishes this has to say it", "unknown")
ARRAYS = "arrays:"  # in front of a data set of which plain arrays were made
# {task type: (what it says, the hub's name of it)}; a test compares them with the types.
_KINDS = {
    "segmentation": ("a class for every pixel", "image-segmentation"),
    "depth": ("a distance for every pixel", "depth-estimation"),
    "normals": ("the direction of the surface at every pixel", "image-segmentation"),
    "instances": ("single objects", "image-segmentation"),
    "edges": ("the probability of a boundary at every pixel", "image-segmentation"),
    "saliency": ("the probability that a pixel belongs to what stands out", "image-segmentation"),
}
# How to read the table: what is perfect, and in which unit an error is.
_READING = {
    "segmentation": "`miou` and accuracies are fractions, 1 is perfect",
    "depth": "`rel` is an error as a fraction of the true distance, `abs` and `rmse` are in its "
    "unit, 0 is perfect; `delta1` is the fraction of pixels within a factor of 1.25, 1 is perfect",
    "normals": "`mean`, `median` and `rmse` are angles in degrees, 0 is perfect",
    "instances": "`rms` is the length of errors in pixels, 0 is perfect; `pq`, `sq`, `rq` and `ap` "
    "are fractions, 1 is perfect",
    "edges": "`f_near`, `f_exact`, `odsF`, `oisF` and `AP` are fractions, 1 is perfect",
    "saliency": "`maxF` and the like are fractions, 1 is perfect",
}
# Of the table: those of single classes and other ways to average are in metrics.json.
_LEFT_OUT = ("/loss", "classes_averaged")


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a card is written from.

    Attributes:
      config: as plain JSON values.
      specs: {key: LabelSpec as a dict}.
      metrics: what metrics.json holds.
      learned: names of the tasks that are predicted.
      name: 'owner/name', or ''.
      licence: of the weights, or ''.
    """

    config: Mapping[str, Any]
    specs: Mapping[str, Mapping[str, Any]]
    metrics: Mapping[str, Any]
    learned: Sequence[str]
    name: str = ""
    licence: str = ""


def write(facts: Facts) -> str:
    """The card, in the hub's Markdown."""
    head = yaml.safe_dump(_metadata(facts), sort_keys=False, allow_unicode=True)
    parts = [_title, _use, _tasks, _numbers, _data, _intended, _made_by]
    return f"---\n{head}---\n\n" + "\n\n".join(part(facts) for part in parts) + "\n"


def licence(facts: Facts) -> str:
    """The hub's name of the licence of the weights.

    'other' where the data, or weights that training started from, may forbid something.
    """
    if facts.licence:
        return facts.licence
    if not all(name in published.sources() for name in _starts(facts.config)):
        return "other"
    theirs = {hub for _, (_, hub) in _data_sets(facts.config)}
    return "apache-2.0" if theirs == {"apache-2.0"} else "other"


def _data_sets(config: Mapping[str, Any]) -> list[tuple[str, tuple[str, str]]]:
    """Names without their protocols, and licences; a folder of one's own is called as its YAML."""
    data = config["data"]
    given = [source["dataset"] for source in (data.get("mixture") or {}).values()]
    found = []
    for dataset in given or [data["dataset"]]:
        name, _, rest = dataset.removeprefix(ARRAYS).partition("/")
        if name in ("folder", "."):  # which may be called like a data set, and is not that
            found.append((PurePath(rest).stem or name, _OWN_DATA))
        else:
            found.append((name, DATA_LICENCES.get(name, _OWN_DATA)))
    return found


def _starts(config: Mapping[str, Any]) -> list[str]:
    """Names of weights, runs and files that training started from."""
    model = config["model"]
    found = [model.get("pretrained")]
    for key in ("pretrained_heads", "single_task"):
        found += (model.get(key) or {}).values()
    return [name for name in found if name]


def _metadata(facts: Facts) -> dict[str, Any]:
    types = [facts.config["tasks"][name]["type"] for name in facts.learned]
    tags = [_KINDS[kind][1] for kind in types if kind in _KINDS]
    return {
        "license": licence(facts),
        "library_name": "mtl_jax",
        "pipeline_tag": tags[0] if tags else "image-segmentation",
        "tags": ["jax", "flax", "multi-task-learning", "dense-prediction", *dict.fromkeys(types)],
    }


def _title(facts: Facts) -> str:
    tasks = " and ".join(filter(None, (", ".join(facts.learned[:-1]), facts.learned[-1])))
    return (
        f"# {_text(facts.config['name'])}\n\nOne network, one photograph in: {_text(tasks)} out. "
        f"Trained with mtl_jax on {_text(', '.join(name for name, _ in _data_sets(facts.config)))}."
    )


def _use(facts: Facts) -> str:
    return f"""## Use

```python
import mtl_jax  # pip install 'mtl-jax[hub]'

model = mtl_jax.load("{facts.name or "<owner>/<name>"}")  # or the path of this folder
maps = model.predict("photo.jpg")  # {{task: array}}
picture = model.draw("photo.jpg", maps)
```

Nothing in this folder is executed: it holds JSON, and tensors in `model.safetensors`."""


def _tasks(facts: Facts) -> str:
    lines = ["## Tasks", "", "| task | what it says | in detail |", "|---|---|---|"]
    for name in facts.learned:
        task = facts.config["tasks"][name]
        spec = facts.specs.get(task.get("key") or name, {})
        what = _KINDS.get(task["type"], (task["type"], ""))[0]
        lines.append(f"| {_text(name)} | {_text(what)} | {_text(_detail(spec))} |")
    return "\n".join(lines)


def _detail(spec: Mapping[str, Any]) -> str:
    if names := spec.get("class_names"):
        return f"{len(names)} classes: {', '.join(names)}"
    if spec.get("valid_range"):
        low, high = spec["valid_range"]
        return f"{low:g} to {high:g} {spec.get('unit') or ''}".strip()
    return ""


def _numbers(facts: Facts) -> str:
    """A table of metrics, with the seed, and over seeds where there are several."""
    metrics, over = facts.metrics, facts.metrics.get("over_seeds")
    shown = {k: v for k, v in metrics["metrics"].items() if v is not None and _is_shown(k)}
    if not shown:
        return "## Numbers\n\nThis checkpoint has not been evaluated."
    seed = f"seed {metrics['seed']}"
    columns = ["metric", f"this network ({seed}, step {metrics['step']})"]
    if over:
        seeds = ", ".join(map(str, over["seeds"]))
        columns.append(f"mean ± deviation over seeds {seeds}")
    lines = [
        f"## Numbers\n\nOn the split `{_text(metrics['split'])}` of the data named below; the "
        f"formulas are in mtl_jax's docs/metrics.md. {_reading(facts)}"
        + ("" if over else "One seed: how far another would be from it is not known."),
        "",
        f"| {' | '.join(columns)} |",
        f"|{'---|' * len(columns)}",
    ]
    for name, value in shown.items():
        cells = [_text(name), f"{value:.4g}"]
        if over:
            cells.append(plus_minus(over["mean"].get(name), over["std"].get(name)))
        lines.append(f"| {' | '.join(cells)} |")
    for name, stored in metrics.get("evaluations", {}).items():
        found = {k: v for k, v in stored["metrics"].items() if v is not None and _is_shown(k)}
        values = ", ".join(f"{_text(key)} {value:.4g}" for key, value in found.items())
        lines.append(f"\nEvaluated as `{_text(name)}`: {values}.")
    return "\n".join(lines)


def _reading(facts: Facts) -> str:
    kinds = dict.fromkeys(facts.config["tasks"][name]["type"] for name in facts.learned)
    return "".join(f"Of {kind}, {_READING[kind]}. " for kind in kinds if kind in _READING)


def _is_shown(name: str) -> bool:
    special = is_member(name) or is_variant(name)
    return not special and not name.endswith(_LEFT_OUT) and name != "loss"


def _data(facts: Facts) -> str:
    lines = ["## Data and licence", ""]
    for name, (words, _) in _data_sets(facts.config):
        lines.append(f"* `{_text(name)}`: {words}.")
    for start in _starts(facts.config):
        lines.append(
            f"* Training started from the weights `{_text(start)}`, "
            + (
                "which are published: mtl_jax's docs/pretrained.md says whose they are."
                if start in published.sources()
                else "whose data and licence are not known to this project."
            )
        )
    lines.append(
        f"* The weights here: {licence(facts)}. Whoever uses them has to respect the terms of the "
        "data, too."
    )
    return "\n".join(lines)


def _intended(facts: Facts) -> str:
    return """## Intended use, and limits

For research, teaching, and as a start for training on one's own data. The numbers above are of
images like those that it was trained on; on others it will be worse, and nothing here says by how
much. It says nothing about how sure it is. Not for anything where a wrong pixel can hurt somebody:
no driving, no surveillance, no decision about people."""


def _made_by(facts: Facts) -> str:
    training = facts.metrics.get("training", {})
    rows = {
        "seed": facts.metrics["seed"],
        "steps": training.get("steps"),
        "batch": facts.config["train"].get("batch_size"),
        "devices": training.get("devices"),
        "time of the steps": _minutes(training.get("train_seconds")),
        "parameters": training.get("parameters"),
        "date": training.get("date"),
        **{key: facts.metrics.get("versions", {}).get(key) for key in ("jax", "flax", "mtl-jax")},
    }
    said = ", ".join(f"{key} {_text(str(v))}" for key, v in rows.items() if v is not None)
    return f"## Training\n\n{said}. `config.json` has every setting."


def _minutes(seconds: float | None) -> str | None:
    return None if seconds is None else f"{seconds / 60:.0f} min"


def _text(text: str) -> str:
    """Text that is no Markdown or HTML, whatever a class or a run is called."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return " ".join("".join(f"\\{c}" if c in "|`*[]" else c for c in escaped).split())
