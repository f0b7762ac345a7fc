"""What may be wrong with the user's files."""

from mtl_jax.errors import UsageError


class PredictionError(UsageError):
    """An input or the output folder cannot be used; the message says which and why."""
