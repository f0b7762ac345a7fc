"""The errors that are the user's to mend."""


class UsageError(ValueError):
    """What was asked for cannot be done; the message says why and what to do.

    The commands show the message alone, without where in the code it comes from.
    """


class ConfigError(UsageError):
    """A config, or an override of one, is impossible; the message names the key and what is right.

    Raised where the mistake is found. Other `ValueError`s are defects, and keep their traceback.
    """
