"""Exported networks in forms that other frameworks run. Besides main.py, it alone may import both
JAX and TensorFlow."""
