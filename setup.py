"""What setup.cfg cannot say: configs/ is installed as the package mtl_jax.configs."""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["mtl_jax", "mtl_jax.*", "input_pipeline", "input_pipeline.*"]),
        *(f"mtl_jax.{name}" for name in find_packages(include=["configs.*"])),
    ],
    package_dir={"mtl_jax.configs": "configs"},
)
