"""Predicts on users' photographs and videos, of any size.

`inputs` and `videos` read, `network` makes maps of images of any size, with the help of `tiles`,
`figures` draws, `outputs` writes, and `predictor` is the loop around them. `model` is all of it for
one image at a time, in Python.
"""

from mtl_jax.prediction.errors import PredictionError as PredictionError
from mtl_jax.prediction.inputs import expand_inputs as expand_inputs
from mtl_jax.prediction.inputs import output_names as output_names
from mtl_jax.prediction.inputs import read_image as read_image
from mtl_jax.prediction.model import Model as Model
from mtl_jax.prediction.model import load as load
from mtl_jax.prediction.model import of_run as of_run
from mtl_jax.prediction.predictor import predict_files as predict_files
from mtl_jax.prediction.settings import Settings as Settings
