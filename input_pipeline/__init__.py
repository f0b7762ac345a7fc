"""Files ─► batches. Knows TensorFlow and NumPy; never imports jax or mtl_jax."""
