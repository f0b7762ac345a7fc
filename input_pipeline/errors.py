"""The errors of the input pipeline that are the user's to mend."""


class DatasetError(ValueError):
    """A data set is missing, incomplete or wrong; the message says what, where and what to do."""


class OptionError(ValueError):
    """An option of the data or of the augmentation is impossible; the message says what is not."""
