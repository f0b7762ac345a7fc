"""Multi-task dense prediction in JAX and Flax. Importing this package never loads TensorFlow."""

__version__ = "0.2.0"
