"""A trained network as one object: `mtl_jax.load("runs/branched").predict("photo.jpg")`."""

import dataclasses
import functools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image

from mtl_jax import checkpoints, hub, system, views
from mtl_jax.options import of_saved
from mtl_jax.pictures import figures
from mtl_jax.prediction import inputs
from mtl_jax.prediction.errors import PredictionError
from mtl_jax.prediction.network import Inferer, Item
from mtl_jax.prediction.settings import FIGURES, Settings
from mtl_jax.runs import files, learned, seeds, workdir
from mtl_jax.tasks import Task

# What `Model` takes for an image.
ImageLike = str | os.PathLike | np.ndarray | Image.Image


class Model:
    """What a run has learned: images of any size in, maps of the same size out.

    Attributes:
      tasks: {name: Task} of what is predicted, in the config's order.
      unlearned: names of the config's other tasks, of which the run had no labels.
      step: of the checkpoint.
      settings: how images are predicted.
    """

    def __init__(
        self,
        parts: system.System,
        variables: Mapping[str, Any],
        *,
        tasks: Mapping[str, Task] | None = None,
        settings: Settings | None = None,
        tta: views.TestTimeAugmentation | None = None,
        step: int = 0,
        release: Callable[..., None] | None = None,
    ):
        """Compiles nothing yet; the first image of each padded size does.

        Args:
          parts: model, tasks and normalisation.
          variables: {'params': ..., 'batch_stats': ...} of the model.
          tasks: {name: Task} of those to predict; all of them by default.
          settings: `Settings(**config.predict)`.
          tta: the views that predictions are merged from; by default there is one.
          step: of the checkpoint.
          release: `release(folder, licence=..., name=...)` writes what `save` writes.
        """
        self.tasks = dict(parts.tasks if tasks is None else tasks)
        self.unlearned = tuple(name for name in parts.tasks if name not in self.tasks)
        self.settings = dataclasses.replace(settings or Settings(), sizes=parts.sizes)
        self.step = step
        self._variables, self._release = variables, release
        self._jitted = jax.jit(functools.partial(self._raw, parts, tta))
        self._network = Inferer(self.raw, self.tasks, self.settings)

    def __repr__(self) -> str:
        return f"Model({', '.join(self.tasks)}; step {self.step})"

    def raw(self, image: np.ndarray) -> dict[str, jax.Array]:
        """Predictions before post-processing: logits, normalised depths, vectors.

        Args:
          image: [B, H, W, 3] uint8. Compiled once per shape.

        Returns:
          {task: [B, H, W, C] float32}.
        """
        return self._jitted(self._variables, image)

    def predict(self, image: ImageLike) -> dict[str, np.ndarray]:
        """The maps of one image, the same as `--mode=predict` writes.

        Args:
          image: [H, W, 3] or [H, W] uint8; a PIL image; or the path of a photograph. Of a path or
            PIL image the EXIF orientation is applied.

        Returns:
          {task: [H, W, ...]}: class ids int32, depth float32 in its unit, unit normals float32
          [H, W, 3] (x right, y down, z ahead), instance ids int32 with 0 = none.

        Raises:
          PredictionError: it is no image; the message says what was expected.
        """
        ((_, maps),) = self._network.run([_item(image, 0)])
        return maps

    def predict_all(self, images: Iterable[ImageLike]) -> list[dict[str, np.ndarray]]:
        """The maps of several images, in order; `settings.batch_size` of one size at a time.

        Args:
          images: each as `predict` takes it.
        """
        items = (_item(image, i) for i, image in enumerate(images))
        found = {int(item.name): maps for item, maps in self._network.run(items)}
        return [found[i] for i in range(len(found))]

    def draw(
        self,
        image: ImageLike,
        maps: Mapping[str, np.ndarray] | None = None,
        *,
        kind: str = "overlay",
        width: int | None = None,
    ) -> np.ndarray:
        """The figure that `--mode=predict` writes: predictions with legends and colour bars.

        Args:
          image: as `predict` takes it.
          maps: from `predict`, of all tasks or some; predicted if not given.
          kind: 'overlay', each prediction laid over the image, or 'side_by_side'.
          width: of each picture in pixels; `settings.figure_width` by default.

        Returns:
          [H', W', 3] uint8.

        Raises:
          PredictionError: `kind` is neither, or `maps` has a name that is no task, or a map of
            another size than the image.
        """
        if kind not in FIGURES["both"]:
            raise PredictionError(f"kind={kind!r}; expected one of {', '.join(FIGURES['both'])}.")
        image = as_array(image)
        maps = self.predict(image) if maps is None else maps
        self._check_maps(maps, image.shape[:2])
        tasks = {name: task for name, task in self.tasks.items() if name in maps}
        width = width or self.settings.figure_width
        return figures.draw(kind, image, maps, tasks, width=width)

    def save(self, folder: str | os.PathLike, *, licence: str = "", name: str = "") -> Path:
        """Writes the network as a folder of plain files, which `mtl_jax.load` loads anywhere.

        Args:
          folder: a new one; see `hub.write` for what is in it.
          licence: of the weights, for the model card, such as 'apache-2.0'.
          name: 'owner/name', for the card's example.

        Returns:
          The folder.

        Raises:
          UsageError: the folder exists, or the model is of no run.
        """
        if self._release is None:
            raise PredictionError(
                "This model was made of variables; `mtl_jax.load` gives one that can be saved."
            )
        with files.new_folder(folder) as temporary:
            self._release(temporary, licence=licence, name=name)
        return Path(folder)

    def push_to_hub(
        self, name: str, *, private: bool = True, licence: str = "", message: str = ""
    ) -> str:
        """Puts what `save` writes on the Hugging Face hub: pip install 'mtl-jax[hub]'.

        Args:
          name: 'owner/name'; created if need be.
          private: of a repository that is created. A public one cannot be taken back from those
            who have it.
          licence: see `save`.
          message: of the commit.

        Returns:
          The address of the commit.

        Raises:
          UsageError: see `save` and `hub.upload`.
        """
        with tempfile.TemporaryDirectory() as parent:
            folder = self.save(Path(parent, "release"), licence=licence, name=name)
            return hub.upload(folder, name, private=private, message=message)

    def _check_maps(self, maps: Mapping[str, np.ndarray], size: tuple[int, int]) -> None:
        for name, value in maps.items():
            if name not in self.tasks:
                raise PredictionError(
                    f"maps[{name!r}]: expected maps of the tasks {', '.join(self.tasks)}."
                )
            if np.shape(value)[:2] != size:
                raise PredictionError(
                    f"maps[{name!r}]: expected a map of the image's size {size}, found an array of "
                    f"shape {np.shape(value)}."
                )

    @staticmethod
    def _raw(parts, tta, variables, image):
        return parts.predict(variables, image, tta)


def load(
    path: str | os.PathLike, *, checkpoint: str = "", revision: str | None = None, **options: Any
) -> Model:
    """Loads what a run has learned.

    Args:
      path: its work directory, such as 'runs/branched_streets'; or a folder that `Model.save` or
        `mtl release` wrote; or the name of one on the hub, 'owner/name' or 'hub:owner/name'.
      checkpoint: 'best' or 'latest'; by default what the run's `config.eval.checkpoint` says. A
        released folder has one only.
      revision: a branch, tag or commit, of a name on the hub.
      **options: instead of what the run's `config.predict` says, such as `tile=512`; see
        `Settings`.

    Raises:
      UsageError: there is no run, it has no checkpoint, or an option is unknown or impossible.
    """
    name = hub.repository(os.fspath(path))
    folder = hub.download(name, revision) if name else Path(os.path.expanduser(path))
    if name or hub.is_release(folder):
        released = hub.read(folder)
        if checkpoint:
            raise PredictionError(
                f"{path} has one checkpoint, of step {released.step}; leave out "
                f"checkpoint={checkpoint!r}."
            )
        return of_release(released, **_known(options, released.config))
    directory = workdir.Workdir(path)
    seeds.check_single(directory)
    config = of_saved(files.from_json(directory.read_config()))
    if checkpoint:
        config.eval.checkpoint = checkpoint
    config.predict.update(_known(options, config))
    return of_run(config, directory)


def _known(options: Mapping[str, Any], config: Any) -> Mapping[str, Any]:
    """The options, each of which has to be one of `config.predict`."""
    unknown = [name for name in options if name not in config.predict]
    if unknown:
        raise PredictionError(
            f"mtl_jax.load has no option {unknown[0]!r}; expected checkpoint, revision or one of "
            f"{', '.join(config.predict)}."
        )
    return options


def of_run(config: Any, directory: workdir.Workdir) -> Model:
    """The model of a run, used as `config` says.

    Args:
      config: the run's, in which `eval` and `predict` may have been changed since.
      directory: of the run.

    Raises:
      UsageError: there is no checkpoint, or it is of another model.
      ConfigError: `config.predict` or `config.eval.tta` is impossible.
    """
    parts = system.build(config, directory.read_label_specs())
    settings, tta = Settings(**config.predict, sizes=parts.sizes), views.build(config.eval.tta)
    tasks = parts.trained_tasks(learned.read(directory, parts.tasks, config.model))
    kind = config.eval.checkpoint
    variables, step = checkpoints.read_variables(directory.checkpoints, kind, parts.zeros())
    release = functools.partial(hub.write, directory=directory, checkpoint=kind)
    return Model(
        parts, variables, tasks=tasks, settings=settings, tta=tta, step=step, release=release
    )


def of_release(released: hub.Release, **options: Any) -> Model:
    """The model of a folder that has been read.

    Args:
      released: from `hub.read`.
      **options: instead of what its `config.predict` says.

    Raises:
      ConfigError: an option is impossible.
    """
    config = released.config
    settings = Settings(**{**config.predict, **options})
    return Model(
        released.parts,
        released.variables,
        tasks=released.parts.trained_tasks(released.learned),
        settings=settings,
        tta=views.build(config.eval.tta),
        step=released.step,
        release=functools.partial(_copy, released.folder),
    )


def _copy(source: Path, folder: Path, *, licence: str, name: str) -> None:
    """Writes a released network as it was read."""
    if licence or name:
        raise PredictionError(
            f"{source} is a release, whose card has been written; edit its README.md."
        )
    for path in source.iterdir():
        if path.is_file():
            shutil.copy(path, folder / path.name)


def as_array(image: ImageLike) -> np.ndarray:
    """[H, W, 3] uint8 of whatever stands for an image.

    Raises:
      PredictionError: it does not; the message says what was expected.
    """
    if isinstance(image, str | os.PathLike):
        return inputs.read_image(image)
    if isinstance(image, Image.Image):
        return inputs.as_rgb(image, "the PIL image")
    array = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or array.shape[2:] not in ((), (3,)):
        raise PredictionError(
            "Expected an image: a uint8 array [H, W, 3] of values from 0 to 255, a PIL image or a "
            f"path; found {_what(image, array)}."
        )
    if 0 in array.shape:
        raise PredictionError(f"Expected an image, found an empty array of shape {array.shape}.")
    return np.stack([array] * 3, axis=-1) if array.ndim == 2 else array


def _what(image: Any, array: np.ndarray) -> str:
    if array.dtype == object or not isinstance(image, np.ndarray | Sequence | jax.Array):
        return f"a {type(image).__name__}"
    hint = ""
    if array.ndim == 4:
        hint = "; for several images there is `predict_all`"
    elif array.ndim == 3 and array.shape[0] == 3 and array.shape[2] != 3:
        hint = "; channels come last: image.transpose(1, 2, 0)"
    elif array.ndim == 3 and array.shape[2] == 4:
        hint = "; leave out the fourth channel, or give the PIL image"
    elif array.dtype.kind == "f":
        hint = "; for values from 0 to 1, (255 * image).round().astype(np.uint8)"
    return f"one of {array.dtype} of shape {array.shape}{hint}"


def _item(image: ImageLike, i: int) -> Item:
    origin = os.fspath(image) if isinstance(image, str | os.PathLike) else f"image {i}"
    return Item(str(i), str(origin), as_array(image))
