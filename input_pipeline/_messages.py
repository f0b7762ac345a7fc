"""What is said while data are prepared: on stderr, where the progress bars are."""

import sys


def say(text: str) -> None:
    """Writes a line."""
    print(text, file=sys.stderr, flush=True)
