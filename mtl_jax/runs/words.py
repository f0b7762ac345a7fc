"""Numbers as people read them, alike in what a run prints and in what a report says."""

import math

NONE = "–"


def number(value: float | None, digits: int = 4) -> str:
    """'0.5123', or a dash for what is not known."""
    if value is None or not math.isfinite(value):
        return NONE
    if value and abs(value) < 1e-3:
        return f"{value:.{digits - 2}e}"
    # Digits before the point are never rounded.
    decimals = digits - 1 - (math.floor(math.log10(abs(value))) if value else 0)
    return f"{value:.{max(0, min(decimals, digits))}f}"


def plus_minus(mean: float | None, deviation: float | None) -> str:
    """'0.5123 ± 0.0045'; the deviation, to the digits of the mean, only where there is one."""
    text = number(mean)
    if deviation is None or text == NONE or not math.isfinite(deviation):
        return text
    decimals = len(text.partition(".")[2])
    return f"{text} ± {deviation:.{decimals}f}"


def duration(seconds: float) -> str:
    """'1:02:03' hours, minutes, seconds."""
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"
