"""Multi-task dense prediction in JAX and Flax. Importing this package never loads TensorFlow."""
