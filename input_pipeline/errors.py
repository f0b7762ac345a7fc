"""The one error that data raises."""


class DatasetError(ValueError):
    """A data set is missing, incomplete or wrong; the message says what, where and what to do."""
