"""The options that belong to no module: of data, training, evaluation and prediction."""

from mtl_jax._options import Option, each, number, one_of, text, truth, whole

_FROM_1, _FROM_0 = whole(least=1), whole(least=0)
_SHARE, _WEIGHT = number(least=0, most=1), number(least=0)

AUGMENT = {
    "mode": Option(
        "composed",
        "'composed', one geometric operation; 'stepwise', the reports' one after another; "
        "'transformer' (InvPT and others) or 'survey', whole recipes: input_pipeline/recipes.py",
        one_of("composed", "stepwise", "transformer", "survey"),
    ),
    "crop": Option((0, 0), "(height, width); (0, 0) = whole images", each(_FROM_0, length=2)),
    "scale": Option((1.0, 1.0), "range of zooms", each(number(above=0, most=1e6), length=2)),
    "flip": Option(0.0, "probability of a mirror image", _SHARE),
    "rotate": Option(0.0, "degrees, either way", number(least=0)),
    "brightness": Option(0.0, "how far the factor may be from 1", number(least=0)),
    "contrast": Option(0.0, "how far the factor may be from 1", number(least=0)),
    "saturation": Option(0.0, "how far the factor may be from 1", number(least=0)),
    "hue": Option(0.0, "turns of the colour circle, either way", number(least=0)),
    "scales": Option((), "zooms to choose from, not a range ('survey')", each(number(above=0))),
    "balanced_by": Option("", "class map: none may fill 3/4 of a crop ('transformer')", text),
    "empty_is_unlabelled": Option((), "class maps of which 0 alone is unlabelled", each(text)),
}

LABELS = {
    "kind": Option(
        "all",
        "of the training labels: 'all'; 'one' for each image, in equal parts; 'random', from 1 to "
        "all but one for each image; or those of a 'file'",
        one_of("all", "one", "random", "file"),
    ),
    "among": Option((), "the labels that share the images; () = those of the run", each(text)),
    "seed": Option(0, "of that draw", _FROM_0),
    "file": Option("", ".json, {id: [keys]}, or .npy of 0 and 1, [examples, keys]", text),
}

DATA = {
    "dataset": Option("streets", "<name> or <name>/<protocol> of input_pipeline.datasets", text),
    "mixture": Option({}, "several data sets instead: see input_pipeline/mixture.py"),
    "data_dir": Option("", "'' = $TFDS_DATA_DIR or ~/tensorflow_datasets", text),
    "manual_dir": Option("", "where the official files of a data set lie", text),
    "train_split": Option("train", "what is trained on, e.g. 'train[:80%]'", text),
    "held_out": Option(
        0.0,
        "share of these images, drawn by seed, that is not trained on: the split 'held_out'",
        number(least=0, most=0.5),
    ),
    "resident": Option(False, "the split lies decoded on the devices: docs/speed.md", truth),
    "workers": Option(0, "processes that make the batches; 0 = threads: docs/speed.md", _FROM_0),
    "augment": AUGMENT,
    "edges": Option({}, "{key: class map or instances that edges are made of, after augmentation}"),
    "labels": LABELS,
}

TRAIN = {
    "batch_size": Option(4, "images per step, over all devices", _FROM_1),
    "epochs": Option(16.0, "length of the run; may end within an epoch", number(above=0)),
    "max_steps": Option(0, "length of the run in steps; 0 = epochs decide"),
    "steps_per_call": Option(1, "steps made in one dispatch, at most: docs/speed.md", _FROM_1),
    "accumulate": Option(1, "micro-batches that a batch is cut into", _FROM_1),
    "loss_average": Option(
        "pixels",
        "each loss is over the batch's 'pixels', or over each image's and then over all 'images'; "
        "'labels': the latter, an image's times the number of tasks / that of its labels",
        one_of("pixels", "images", "labels"),
    ),
    "remat": Option(
        False,
        "less memory for more time: blocks of encoder and heads are computed twice, of any network",
        truth,
    ),
    "deep_supervision": Option(True, "a loss on earlier predictions too", truth),
    "deep_supervision_weights": Option(
        (), "of the losses that are summed, the final one last; () = their mean", each(_WEIGHT)
    ),
    "freeze": Option((), "'encoder', 'common' (all that is shared) or tasks: no update"),
    "freeze_batch_norm": Option(
        "",
        "whose BatchNorms, besides those of `freeze`, use running statistics in training: '', "
        "'encoder' or 'all'",
    ),
    "log_every": Option(50, "steps between two log entries"),
    "eval_every_epochs": Option(1.0, "epochs between two evaluations", number(above=0)),
    "checkpoint_every_steps": Option(0, "besides every evaluation; 0 = off", _FROM_0),
    "trackers": Option((), "'wandb', 'mlflow': where a run is written to besides TensorBoard"),
    "profile": Option("", "'first:last', steps to trace for TensorBoard", text),
}

TTA = {
    "scales": Option((), "besides 1; report B: (0.5, 2.0, 3.0)"),
    "flip": Option(False, "every scale mirrored too", truth),
    "semantics": Option(
        "softmax",
        "of class maps: 'softmax', 'vote', or 'plain': not merged",
        one_of("softmax", "vote", "plain"),
    ),
}

SCORES = {
    "protocols": Option(("invpt",), "of odsF in --mode=evaluate: invpt, survey, mtdp", each(text)),
    "ids": Option("", "a file with the ids, one a line, that these are over; '' = all", text),
    "published_images": Option(
        0, "what published figures are over; of n others ours is odsF_of_<n>; 0 = of all", _FROM_0
    ),
    "workers": Option(0, "processes; 0 = one for each core", _FROM_0),
}

EVAL = {
    "split": Option("validation", "what is evaluated", text),
    "batch_size": Option(8, "images at once, over all devices", _FROM_1),
    "crop_multiple": Option(1, "sides are cut to a multiple of it", _FROM_1),
    "image_size": Option((0, 0), "(height, width); (0, 0) = as stored", each(_FROM_0, length=2)),
    "resize": Option(
        (0, 0), "(height, width) all is stretched to first; (0, 0) = not", each(_FROM_0, length=2)
    ),
    "resize_back": Option(
        False,
        "what is predicted goes back to the images' own size, labels stay at it",
        truth,
    ),
    "padding": Option(
        "black", "of images: 'black', or 'mean', 0 when normalised", one_of("black", "mean")
    ),
    "selection": Option("headline_mean", "the metric that decides which checkpoint is best", text),
    "selection_mode": Option(
        "max", "whether more of it is better: 'max' or 'min'", one_of("max", "min")
    ),
    "checkpoint": Option(
        "best", "what evaluate and predict load: 'best' or 'latest'", one_of("best", "latest")
    ),
    "images": Option(4, "examples drawn at each evaluation", _FROM_0),
    "worst_images": Option(3, "drawn for each task at the best evaluation", _FROM_0),
    "save_predictions": Option(False, "write every prediction of the split", truth),
    "tta": TTA,
    "scores": SCORES,
    "delta_metrics": Option((), "of Δm by one metric per task; () = each task's headline"),
}

PREDICT = {
    "max_size": Option(0, "longer sides are shrunk to it for the network; 0 = off", _FROM_0),
    "batch_size": Option(1, "images of one padded size, or tiles, at once", _FROM_1),
    "tile": Option(
        0, "side of the tiles that larger images are cut into; 0 = whole images", _FROM_0
    ),
    "tile_overlap": Option(128, "pixels that neighbouring tiles share", _FROM_0),
    "figure": Option(
        "overlay",
        "'overlay', 'side_by_side' or 'both'",
        one_of("overlay", "side_by_side", "both"),
    ),
    "figure_width": Option(640, "pixels of each picture in it"),
    "save_npz": Option(False, "write arrays too", truth),
}
