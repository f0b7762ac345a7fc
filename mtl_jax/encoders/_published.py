"""What an encoder's module says of the published weights that fit it, beside its code."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# Our leaf ─► PyTorch's.
PYTORCH_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


@dataclass(frozen=True)
class Source:
    """Where the weights of one network are.

    Attributes:
      file: torchvision's, at https://download.pytorch.org/models/; the eight digits in its name
        begin its SHA-256. With `package`, the file in that. '' if there is none.
      repo: of the Hugging Face hub; '' if it has none.
      revision: of that repository, a commit; '' for its newest.
      sha256: of `model.safetensors` at that commit; '' if not known, and then the hub's own word
        for it is taken. With `package`, of its file.
      package: of the Python Package Index, that has the file in its folder `models`; '' if none.
      url: of a file at another address than torchvision's, for people to get it; '' if none.
    """

    file: str = ""
    repo: str = ""
    revision: str = ""
    sha256: str = ""
    package: str = ""
    url: str = ""


def _same(arrays: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    return arrays


def _unchanged(
    parameter: str, array: np.ndarray, shape: tuple[int, ...], options: Mapping[str, Any]
) -> np.ndarray:
    del parameter, shape, options
    return array


def _nothing(arrays: Mapping[str, np.ndarray]) -> str:
    del arrays
    return ""


@dataclass(frozen=True)
class Published:
    """Published weights of an encoder: where they are, and how their arrays are called.

    A module has one, called `PUBLISHED`; `mtl_jax.weights` needs nothing else to load them.

    Attributes:
      layer: a layer of ours ─► its name in the files: 'encoder/layer1_0/downsample_bn' ─►
        'layer1.0.downsample.1'; None for what they lack. 'encoder' alone, for parameters of the
        encoder's own, is '' there. Layers outside the encoder are asked for too, as FCN's hidden
        layers are VGG's.
      sources: {name for `config.model.pretrained`: where it is}.
      leaves: names of a layer's arrays besides kernel, scale, bias, mean and var, ours ─► theirs.
        Of arrays that are in neither, as of an adapter, there are no published values.
      unused: how names begin of what files may hold besides the encoder: the classifier, and what
        some options leave out.
      buffers: how names end of what files hold that is computed and not learned.
      options: {option of the encoder: its value in all published networks}.
      size: the option that says which of the published networks it is, for errors; '' if none.
      translate: all arrays of a file ─► the same by the names that `layer` gives, if some
        publishers use others.
      adapt: (our name, array, our shape, the encoder's options) ─► array, for what may have another
        shape than ours, as position embeddings of another grid. What it cannot adapt it returns as
        it is.
      describe: all arrays, as `translate` gives them ─► a sentence that says which options fit the
        file, for the error where these do not; '' if it cannot tell.
    """

    layer: Callable[[str], str | None]
    sources: Mapping[str, Source] = field(default_factory=dict)
    leaves: Mapping[str, str] = field(default_factory=dict)
    unused: tuple[str, ...] = ("fc.", "classifier.")
    buffers: tuple[str, ...] = (".num_batches_tracked",)
    options: Mapping[str, Any] = field(default_factory=dict)
    size: str = ""
    translate: Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]] = _same
    adapt: Callable[[str, np.ndarray, tuple[int, ...], Mapping[str, Any]], np.ndarray] = _unchanged
    describe: Callable[[Mapping[str, np.ndarray]], str] = _nothing

    def name(self, parameter: str) -> str | None:
        """'encoder/layer1_0/conv1/kernel' ─► 'layer1.0.conv1.weight'; None if files lack it."""
        layer, _, leaf = parameter.rpartition("/")
        layer, leaf = self.layer(layer), (PYTORCH_LEAVES | dict(self.leaves)).get(leaf)
        return None if layer is None or leaf is None else f"{layer}.{leaf}".removeprefix(".")
