"""Exported networks in forms that other frameworks run; with the commands the only room that sees
both JAX and TensorFlow."""
