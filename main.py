"""Train, evaluate, predict, export: flags and wiring; where TensorFlow and JAX meet.

python main.py --config=configs/branched.py
python main.py --mode=evaluate --workdir=runs/branched_streets --config.eval.split=test
python main.py --config=configs/branched.py --seeds=0,1,2
python main.py --mode=predict --workdir=runs/branched_streets --input='photos/*.jpg' --output=out/
python main.py --mode=export --workdir=runs/branched_streets --size=256x512 --output=exported/
python main.py --sweep=configs/sweeps/depth_loss.py
"""

import contextlib
import errno
import functools
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported
if __name__ == "__main__" and sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
    # With huge pages a step on a CPU takes an eighth less time; glibc reads this when it starts.
    os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])

import jax
from absl import app, flags, logging
from ml_collections import config_flags

from configs import command_line
from input_pipeline.errors import DatasetError
from mtl_jax import checkpoints, evaluation, export, parallel, prediction, system
from mtl_jax import views as test_time_augmentation
from mtl_jax.errors import UsageError
from mtl_jax.pictures import panels as validation_panels
from mtl_jax.runs import baselines, loop, progress, seeds, step_log, workdir
from mtl_jax.studies import runner as sweep_runner
from mtl_jax.studies import sweeps

_CONFIG = config_flags.DEFINE_config_file("config", None, "configs/<name>.py[:protocol]")
_WORKDIR = flags.DEFINE_string("workdir", None, "where the run is kept; runs/<name> by default")
_MODE = flags.DEFINE_enum("mode", "train", ["train", "evaluate", "predict", "export"], "what to do")
_INPUT = flags.DEFINE_list("input", [], "predict: files, folders or globs, with commas between")
_SEEDS = flags.DEFINE_list(
    "seeds", [], "train, evaluate: a run for each of these instead of config.seed, in turn"
)
_BASELINES = flags.DEFINE_list(
    "baselines", [], "evaluate: work directories of single-task runs, to compute Δm"
)
_SWEEP = flags.DEFINE_string("sweep", None, "configs/sweeps/<name>.py[:protocol]: run its rows")
_SWEEP_LIST = flags.DEFINE_bool("sweep_list", False, "print the rows and their cost; run nothing")
_SHARD = flags.DEFINE_string("shard", "0/1", "i/n: the i-th of n parts of the sweep, from 0")
_RATE = flags.DEFINE_float(
    "images_per_second", 0.0, "for --sweep_list: a rate to estimate with", lower_bound=0.0
)
_OUTPUT = flags.DEFINE_string("output", None, "predict, export: the folder to write to")
_SIZE = flags.DEFINE_string("size", "", "export: <height>x<width> instead of eval.image_size")
_CACHE = flags.DEFINE_string(
    "compilation_cache", "~/.cache/mtl_jax", "compiled programs are kept here; '' = nowhere"
)
_COORDINATOR = flags.DEFINE_string("coordinator", None, "several processes: host:port of the first")
_PROCESSES = flags.DEFINE_integer("processes", None, "several processes: how many")
_PROCESS = flags.DEFINE_integer("process", None, "several processes: which one this is, from 0")


def train() -> None:
    """--mode=train: trains, or goes on with, the run in --workdir; or one for each of --seeds."""
    config = _CONFIG.value
    directory = _workdir(config)
    directory.create()
    if not _seeds():
        seeds.check_single(directory)
        _train(config, directory)
        return
    seeds.check_parent(directory)
    directory.claim(config)
    found = {}
    for seed, its_config, its_directory in _per_seed(config, directory):
        progress.say(f"Seed {seed}: {its_directory.path}")
        found[seed] = _train(its_config, its_directory)
    summary = seeds.aggregate(found)
    if jax.process_index() == 0:
        workdir.write_json(directory.results, summary)
    progress.say(f"{seeds.table(summary)}\nAll metrics: {directory.results}")


def _train(config, directory) -> dict[str, Any]:
    """Trains one run; returns what its results.json holds."""
    from clu import metric_writers

    from input_pipeline import from_config

    directory.create()
    builder, specs = _dataset(config)
    directory.claim(config)
    directory.claim_labels(specs)
    with _usage_errors():
        parts = system.build(config, specs)
        stream = from_config.train_stream(builder, config, _keys(parts), **_process())
    for key in stream.missing:
        progress.say(f"The data have no {key!r}: that task is not trained.")
    writers = []
    if jax.process_index() == 0:
        writers.append(metric_writers.SummaryWriter(str(directory.path)))
    writer = metric_writers.AsyncMultiWriter(writers)
    # TensorBoard keeps no lists, such as a crop.
    writer.write_hparams(
        {
            key: value if isinstance(value, str | int | float | bool) else str(value)
            for key, value in workdir.flatten(workdir.to_json(config)).items()
        }
    )
    with _usage_errors():
        eval_stream = from_config.eval_stream(builder, config, _keys(parts), **_process())
        run = loop.Run(
            config=config,
            system=parts,
            mesh=parallel.make_mesh(),
            stream=stream,
            eval_batches=eval_stream.batches,
            eval_ids=eval_stream.example_ids,
            workdir=directory,
            writer=writer,
            draw=functools.partial(validation_panels.draw, tasks=parts.tasks),
        )
    found = run.train()
    best, last, selection = found["best"], found["last"], found["selection"]
    progress.say(
        f"Best {selection} {best['metrics'][selection]:.4g} at step {best['step']}, last "
        f"{last['metrics'][selection]:.4g}, mean of the last {min(10, found['evaluations'])} "
        f"{found['mean_of_last_10'][selection]:.4g}. Everything is in {directory.path}."
    )
    return found


def evaluate() -> None:
    """--mode=evaluate: all metrics of config.eval.split; their mean over --seeds; Δm."""
    config = _CONFIG.value
    directory = _workdir(config)
    compared = [workdir.Workdir(path) for path in _BASELINES.value]
    like = workdir.to_json(config)
    baselines.read(compared, like, config.eval.checkpoint)  # fails now rather than after the work
    if _seeds():
        runs = [_evaluate(*run) for _, *run in _per_seed(config, directory)]
        result, tasks = runs[0]
        mean, deviation = seeds.spread(its["metrics"] for its, _ in runs)
        result |= {"seeds": list(_seeds()), "step": [its["step"] for its, _ in runs]}
        result |= {"metrics": mean, "std": deviation}
        progress.evaluation(result["step"], mean)
    else:
        result, tasks = _evaluate(config, directory)
    if compared:
        result["delta_m"] = baselines.compare(
            result["metrics"], directory, compared, like, tasks, report=progress.say
        )
    progress.say(f"All metrics: {_write_evaluation(config, directory, result)}")


def _evaluate(config, directory) -> tuple[dict[str, Any], dict[str, Any]]:
    """(what evaluation_<split>_<checkpoint>.json holds, tasks) of one run."""
    from input_pipeline import from_config

    parts = _trained(config, directory)
    builder, _ = _dataset(config)
    with _usage_errors():
        stream = from_config.eval_stream(builder, config, _keys(parts), **_process())
        mesh = parallel.make_mesh()
        parallel.check_batch_size(config.eval.batch_size, mesh, key="config.eval.batch_size")
        tta = test_time_augmentation.build(config.eval.tta, multiple_of=config.eval.crop_multiple)
    variables, step = _variables(config, directory, parts)
    name = f"{config.eval.split}_{config.eval.checkpoint}"
    save = None
    if config.eval.save_predictions:
        folder = directory.predictions / name
        save = evaluation.PredictionSaver(folder, stream, parts.tasks)
    metrics = evaluation.Evaluator(parts, mesh, tta)(variables, stream.batches(), save)
    progress.evaluation(step, metrics)
    if save:
        progress.say(f"Predictions: {folder}")
    result = {
        "step": step,
        "split": config.eval.split,
        "evaluated_with": baselines.evaluated_with(workdir.to_json(config)),
        "metrics": metrics,
    }
    _write_evaluation(config, directory, result)
    return result, parts.tasks


def _write_evaluation(config, directory, result) -> Path:
    file = f"evaluation_{config.eval.split}_{config.eval.checkpoint}.json"
    if jax.process_index() == 0:
        workdir.write_json(directory.path / file, result)
    return directory.path / file


def predict() -> None:
    """--mode=predict: labels, depth and figures for each of the user's photographs and videos."""
    if not _INPUT.value or not _OUTPUT.value:
        raise UsageError("--mode=predict needs --input=<files, folders or globs> and --output=.")
    config = _CONFIG.value
    directory = _workdir(config)
    parts = _trained(config, directory)
    specs = directory.read_label_specs()
    files = prediction.expand_inputs(_INPUT.value)
    with _usage_errors():
        settings = prediction.Settings(**config.predict)
        tta = test_time_augmentation.build(config.eval.tta, multiple_of=settings.multiple_of)
    variables, _ = _variables(config, directory, parts)

    @jax.jit
    def apply(variables, image):
        view = functools.partial(parts.predict, variables)
        return tta.merge(view, parts.tasks, image, view(image))

    tasks = parts.trained_tasks(config.model, specs)
    for name in parts.tasks.keys() - tasks.keys():
        progress.say(f"{name!r} is not predicted: the run had no labels for it or what it needs.")
    prediction.predict_files(
        functools.partial(apply, variables),
        tasks,
        files,
        Path(_OUTPUT.value).expanduser(),
        settings,
        report=progress.say,
    )


def export_network() -> None:
    """--mode=export: image ─► final outputs, for JAX and for TensorFlow, without this project."""
    from mtl_jax.serving import saved_model

    if not _OUTPUT.value:
        raise UsageError("--mode=export needs --output=<a new folder>.")
    config = _CONFIG.value
    directory = _workdir(config)
    parts = _trained(config, directory)
    with _usage_errors():
        network = export.network(config, parts, directory.read_label_specs(), _SIZE.value)
    with export.new_folder(Path(_OUTPUT.value).expanduser()) as folder:
        variables, step = _variables(config, directory, parts)
        exported = export.export(network, variables)
        export.write(folder, network, exported, {"config": config.name, "step": step})
        saved_model.write(folder, exported)
    progress.say(f"Step {step}, {network}: {_OUTPUT.value}")


def sweep(overrides: list[str]) -> int:
    """--sweep: every row of a study, each in a process of its own. Returns the exit status."""
    if _CONFIG.value is not None or _MODE.value != "train":
        raise UsageError("--sweep takes neither --config nor --mode; its rows say both.")
    path, _, protocol = _SWEEP.value.partition(":")
    study = sweeps.load(path, protocol, overrides)
    runner = sweep_runner.Runner(
        sweep=study,
        directory=Path(_WORKDIR.value or Path("runs") / study.name).expanduser().absolute(),
        command=(sys.executable, str(Path(__file__).absolute())),
        arguments=(*overrides, f"--compilation_cache={_CACHE.value}"),
        seeds=_seeds(),
    )
    rows = study.shard(*sweeps.parse_shard(_SHARD.value))
    if _RATE.present and not _SWEEP_LIST.value:
        raise UsageError("--images_per_second is of no use without --sweep_list.")
    if _SWEEP_LIST.value:
        print(runner.table(rows, _RATE.value))
        return 0
    return runner.run(rows)


def _workdir(config) -> workdir.Workdir:
    return workdir.Workdir(_WORKDIR.value or Path("runs") / config.name)


def _dataset(config):
    """The prepared builder, and its label specs as plain dicts."""
    from input_pipeline import from_config

    with _usage_errors():
        builder = from_config.load(config.data)
    return builder, {key: spec.as_dict() for key, spec in builder.label_specs.items()}


def _seeds() -> tuple[int, ...]:
    with _usage_errors():
        return seeds.parse(_SEEDS.value)


def _per_seed(config, parent):
    """(seed, config, work directory) of each of --seeds."""
    for seed in _seeds():
        its_config = config.copy_and_resolve_references()
        its_config.seed = seed
        yield seed, its_config, seeds.directory(parent, seed)


def _trained(config, directory) -> system.System:
    """The system of a run that was trained before."""
    seeds.check_single(directory)
    directory.check_config(config, may_differ=workdir.use_may_differ())
    with _usage_errors():
        return system.build(config, directory.read_label_specs())


def _variables(config, directory, parts):
    """(variables, step) of the checkpoint that config.eval.checkpoint names."""
    with _usage_errors():
        like = parts.init(jax.random.key(0), (64, 64))
        return checkpoints.read_variables(directory.checkpoints, config.eval.checkpoint, like)


def _keys(parts) -> list[str]:
    return ["image", *dict.fromkeys(task.key for task in parts.tasks.values())]


def _process() -> dict[str, int]:
    return {"process_index": jax.process_index(), "process_count": jax.process_count()}


@contextlib.contextmanager
def _usage_errors():
    """A ValueError while parts are being built is about the config, not a defect."""
    try:
        yield
    except (DatasetError, UsageError):
        raise
    except ValueError as error:
        logging.info("Where the error below comes from:", exc_info=True)
        raise UsageError(str(error)) from error


def _set_up_jax() -> None:
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")  # all of its memory is JAX's
    if _CACHE.value:
        jax.config.update("jax_compilation_cache_dir", str(Path(_CACHE.value).expanduser()))
    if _COORDINATOR.value:
        jax.distributed.initialize(_COORDINATOR.value, _PROCESSES.value, _PROCESS.value)


def main(argv: list[str]) -> None:
    """Runs one mode. An error of the user's is one message, not a traceback."""
    modes = {"train": train, "evaluate": evaluate, "predict": predict, "export": export_network}
    try:
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.ERROR)  # orbax and TFDS tell every step that they take
        if _SWEEP.value:
            sys.exit(sweep(argv[1:]))
        if len(argv) > 1:
            raise UsageError(f"Unknown arguments {' '.join(argv[1:])}; flags start with --.")
        if _CONFIG.value is None:
            raise UsageError("--config=configs/<name>.py is missing, or the --workdir of a run.")
        for flag, its_modes in (
            (_SEEDS, ("train", "evaluate")),
            (_BASELINES, ("evaluate",)),
            (_SIZE, ("export",)),
        ):
            if flag.value and _MODE.value not in its_modes:
                raise UsageError(f"--{flag.name} is of no use in --mode={_MODE.value}.")
        for flag in (_SWEEP_LIST, _SHARD, _RATE):
            if flag.present:
                raise UsageError(f"--{flag.name} is of no use without --sweep.")
        _set_up_jax()
        modes[_MODE.value]()
    except loop.Stopped as stopped:
        progress.say(str(stopped))
        sys.exit(128 + stopped.signum)
    except KeyboardInterrupt:
        sys.exit(130)  # where nothing is trained, Ctrl-C has nothing to save
    except (DatasetError, UsageError, step_log.NonFiniteLoss) as error:
        print(f"\n{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        if isinstance(error, checkpoints.DiskFullError):
            os._exit(1)  # an orderly exit would wait for threads that still try to write
        sys.exit(1)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        again = "goes on from the last checkpoint" if _MODE.value == "train" else "begins anew"
        print(
            f"\nThe disk is full: {error.filename}. Free some space; the same command {again}.",
            file=sys.stderr,
            flush=True,
        )
        sys.exit(1)


if __name__ == "__main__":
    arguments = command_line.with_saved_config(sys.argv)
    app.run(main, argv=arguments, flags_parser=command_line.parse_flags)
