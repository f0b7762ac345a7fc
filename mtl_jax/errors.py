"""The errors that are the user's to mend."""


class UsageError(ValueError):
    """What was asked for cannot be done; the message says why and what to do.

    `main.py` shows the message alone, without where in the code it comes from.
    """
