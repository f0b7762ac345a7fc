"""Writes an exported network as a TensorFlow SavedModel, with a script that runs it."""

import shutil
from pathlib import Path

import tensorflow as tf
from jax import export as jax_export
from jax.experimental import jax2tf

from mtl_jax import export

SAVED_MODEL = "saved_model"
SCRIPT = "run_saved_model.py"


class TensorFlowNetwork(tf.Module):
    """The functions of an exported network, over weights that they share.

    The weights are variables, not constants, so a SavedModel of any size can be written: a graph is
    one message of at most 2 GB.

    Attributes:
      maps, raw: image uint8 [B, H, W, 3] ─► {task: tensor}, see `mtl_jax.export.Exportable`.
    """

    def __init__(self, exported: export.Exported):
        super().__init__(name="network")
        self._weights = {
            name: tf.Variable(value, trainable=False, name=name)
            for name, value in exported.weights.items()
        }
        self.maps = self._function(exported.functions["maps"])
        self.raw = self._function(exported.functions["raw"])

    def _function(self, exported: jax_export.Exported):
        *_, image = exported.in_avals
        call = jax2tf.convert(
            exported.call,
            polymorphic_shapes=[None, "batch, ..."],
            native_serialization_platforms=exported.platforms,
            with_gradient=False,
        )

        @tf.function(
            autograph=False,
            input_signature=[tf.TensorSpec((None, *image.shape[1:]), tf.uint8, name="image")],
        )
        def function(image):
            return call(dict(self._weights), image)

        return function


def write(folder: Path, exported: export.Exported) -> None:
    """Writes the SavedModel, whose signatures are 'serving_default' (maps) and 'raw', and a script.

    Args:
      folder: to write into.
      exported: from `mtl_jax.export.export`.
    """
    network = TensorFlowNetwork(exported)
    tf.saved_model.save(
        network,
        str(folder / SAVED_MODEL),
        signatures={"serving_default": network.maps, "raw": network.raw},
    )
    shutil.copyfile(Path(__file__).with_name(SCRIPT), folder / SCRIPT)
