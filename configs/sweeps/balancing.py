"""Every balancing method on one network: who is better, by how much, and at which cost.

--sweep=configs/sweeps/balancing.py             a small branched network on Streets at 64×128,
                                                400 steps of 8
--sweep=configs/sweeps/balancing.py:nyuv2       SegNet-MTAN at 288×384, 13 classes, depth, normals
--sweep=configs/sweeps/balancing.py:cityscapes  SegNet-MTAN at 128×256, 7 classes, inverse depth

with --seeds=0,1,2; then `python -m mtl_jax.studies.balancing <directory> --seeds=0,1,2` prints the
table. It goes on where it was stopped. What is the same for all rows: network, data, augmentation,
schedule, and what decides. Methods differ in Σ w; Adam divides every parameter's gradient by its
own size, so that a constant factor of it cancels, and nothing is clipped, which would undo that:
one learning rate is the same for all, and no method is tuned.

A share of the training images, drawn by seed, is held out of every row. There, and never on what
the table reports, the weights of "fixed, tuned" are chosen among five points of the simplex (ten,
where there are three tasks), more trials than any method gets, and there PIVRG is scored and
Auto-Lambda looks ahead. Published rows trained on all images.

Rows: `only_<task>`, the single-task baselines of Δm; `fixed_...`, these points; `held_out_...`,
what these are on the held-out images; and every method that there is, found and not listed.
"""

import itertools

from mtl_jax.configs.sweeps import _studies

from mtl_jax import weightings
from mtl_jax.configs import branched, common, mtan
from mtl_jax.studies.sweeps import Row

PROTOCOLS = ("streets", "nyuv2", "cityscapes")
REPORTED = "nyuv2"
HELD_OUT = "held_out"


def get_rows(protocol: str) -> list[Row]:
    """Baselines, the grid of fixed weights, these on what is held out, and every method."""
    base = _base(protocol)
    tasks = list(base.tasks)
    alone = {
        task: Row(f"only_{task}", _studies.equally_weighted(_studies.only(base, [task])))
        for task in tasks
    }
    grid = []
    for shares in _simplex(len(tasks)):
        weights = {t: len(tasks) * share for t, share in zip(tasks, shares, strict=True)}
        name = "fixed_" + "_".join(f"{share:.2f}" for share in shares)
        grid.append(Row(name, _weighted(base, {"name": "fixed", "weights": weights})))
    scored = [_held_out(row) for row in (*alone.values(), *grid)]
    references = tuple(row.name for row in scored[: len(tasks)])
    methods = []
    for name in weightings.names():
        compares = references if weightings.kind(name).needs_scores else ()
        methods.append(Row(name, _weighted(base, {"name": name}), compares=compares))
    return [*alone.values(), *grid, *scored, *methods]


def _held_out(row: Row) -> Row:
    """The last model of a row, evaluated on what was held out of its training."""
    config = _studies.variant(row.config, {"eval.split": HELD_OUT, "eval.checkpoint": "latest"})
    return Row(f"{HELD_OUT}_{row.name.removeprefix('only_')}", config, evaluates=row.name)


def _base(protocol: str):
    if protocol == "streets":
        config = _streets()
    else:
        config = mtan.get_config(protocol)
        config.schedule.learning_rate = 1e-4
        # Of both data sets, as in the tables of Nash-MTL and those after it.
        config.train.epochs = 200
        config.schedule.every_epochs = 100
        config.data.held_out = 0.05
    config.optimizer.name = "adam"
    config.optimizer.weight_decay = 0.0
    config.optimizer.clip_norm = 0.0
    return config


def _streets():
    """What all rows of three seeds end with within three hours on two cores."""
    config = branched.get_config("streets")
    config.model.encoder = common.resnet(18, "FFF", width=16)
    config.model.decoder.channels = 32
    config.model.pretrained = ""
    config.optimizer.encoder_scale = 1.0
    config.data.dataset = "streets/64x128"
    config.data.augment = common.augment(flip=0.5)
    # Seven epochs, as methods that count epochs do nothing in the first two, or five.
    config.data.train_split = "train[:480]"
    config.data.held_out = 0.1
    config.train.max_steps = 400
    config.train.eval_every_epochs = 1000  # once, at the end
    return config


def _weighted(base, weighting: dict):
    return _studies.variant(base, {"weighting": weighting})


def _simplex(count: int) -> list[tuple[float, ...]]:
    """Multiples of 1/6 that sum to 1: five points for 2 weights, ten for 3."""
    sixths = itertools.product(range(1, 6), repeat=count)
    return [tuple(i / 6 for i in point) for point in sixths if sum(point) == 6]
