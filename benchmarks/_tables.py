"""Rows of numbers as a Markdown table."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def markdown(rows: Sequence[Mapping[str, Any]], left_out: Iterable[str] = ()) -> list[str]:
    """The lines of a table, a column for each key that a row has; none if there is no column.

    Args:
      rows: {column: text or number}; what a row lacks, or is None, is '–'.
      left_out: keys that get no column.
    """
    columns = list(dict.fromkeys(key for row in rows for key in row if key not in left_out))
    if not columns:
        return []
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    return lines + [f"| {' | '.join(_cell(row.get(key)) for key in columns)} |" for row in rows]


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.4g}"
    return f"{value:,}" if type(value) is int else str(value).replace("|", "\\|")
