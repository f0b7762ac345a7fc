"""Evaluates a trained run: all metrics of config.eval.split, their mean over seeds, and Δm."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from mtl_jax import evaluation, options, parallel, views
from mtl_jax.commands import assembly, slow_scores
from mtl_jax.runs import baselines, files, progress, rules, seeds, workdir
from mtl_jax.runs.workdir import Workdir


def run(
    config: ConfigDict,
    path: str | Path | None = None,
    *,
    chosen_seeds: Sequence[int] = (),
    compared_with: Sequence[str | Path] = (),
) -> dict[str, Any]:
    """Evaluates the checkpoint that config.eval.checkpoint names.

    Args:
      config: of the run, with what is to be evaluated in `config.eval`.
      path: the work directory; runs/<config.name> by default.
      chosen_seeds: evaluates the run of each of these, and sums them up.
      compared_with: work directories of single-task runs, to compute Δm.

    Returns:
      What evaluation_<split>_<checkpoint>.json holds.

    Raises:
      UsageError: there is no such run, or it cannot be evaluated or compared so.
    """
    config = options.filled(config)
    where = workdir.default(path, config)
    compared = [Workdir(other) for other in compared_with]
    like = files.to_json(config)
    baselines.read(compared, like, config.eval.checkpoint)  # fails now rather than after the work
    if chosen_seeds:
        chosen = tuple(chosen_seeds)
        runs = [_evaluate(*one) for _, *one in seeds.runs(config, where, chosen)]
        result, tasks = runs[0]
        mean, deviation = seeds.spread(its["metrics"] for its, _ in runs)
        result |= {"seeds": list(chosen), "step": [its["step"] for its, _ in runs]}
        result |= {"metrics": mean, "std": deviation}
        progress.evaluation(result["step"], mean)
    else:
        result, tasks = _evaluate(config, where)
    if compared:
        result["delta_m"] = baselines.compare(
            result["metrics"], where, compared, like, tasks, report=progress.say
        )
    progress.say(f"All metrics: {_write(config, where, result)}")
    return result


def _evaluate(config: ConfigDict, where: Workdir) -> tuple[dict[str, Any], dict[str, Any]]:
    """(what evaluation_<split>_<checkpoint>.json holds, tasks) of one run."""
    parts = assembly.trained(config, where)
    tta = views.build(config.eval.tta)
    builder, specs = assembly.dataset(config)
    where.check_labels(specs)
    scores = slow_scores.SlowScores(parts.tasks, specs, config.eval.scores)
    stream = assembly.eval_stream(builder, config, parts, scores.keys)
    mesh = parallel.make_mesh()
    parallel.check_batch_size(config.eval.batch_size, mesh, key="config.eval.batch_size")
    variables, step = assembly.variables(config, where, parts)
    save = None
    if config.eval.save_predictions:
        folder = where.saved_predictions(config.eval.split, config.eval.checkpoint)
        save = evaluation.PredictionSaver(folder, stream, parts.tasks)
    with scores.of(stream) as score:

        def on_batch(batch, outputs):
            for use in filter(None, (save, score)):
                use(batch, outputs)

        metrics = evaluation.Evaluator(parts, mesh, tta)(variables, stream.batches(), on_batch)
        progress.evaluation(step, metrics)
        metrics |= scores.finish()
    if save:
        progress.say(f"Predictions: {folder}")
    result = {
        "step": step,
        "split": config.eval.split,
        "evaluated_with": rules.evaluated_with(files.to_json(config)),
        "metrics": metrics,
    }
    _write(config, where, result)
    return result, parts.tasks


def _write(config: ConfigDict, where: Workdir, result: dict[str, Any]) -> Path:
    file = where.evaluation(config.eval.split, config.eval.checkpoint)
    if jax.process_index() == 0:
        files.write_json(file, result)
    return file
