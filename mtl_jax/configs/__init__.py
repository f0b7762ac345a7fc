"""The configs as modules: in a clone they lie in configs/, in an installed package here.

setup.py installs configs/ as this package, in place of this file: a wheel has no top-level package
called `configs`, and `from mtl_jax.configs import common` is right in both.
"""

from pathlib import Path

__path__ = [str(Path(__file__).resolve().parents[2] / "configs")]
