"""The errors of the input pipeline that are the user's to mend."""

import difflib
from collections.abc import Iterable


class DatasetError(ValueError):
    """A data set is missing, incomplete or wrong; the message says what, where and what to do."""


class OptionError(ValueError):
    """An option of the data or of the augmentation is impossible; the message says what is not."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """' Did you mean 'x'?' of the nearest known word; '' if none is near.

    As `mtl_jax.errors` has it, which this package does not import: it stands alone.
    """
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
