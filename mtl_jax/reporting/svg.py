"""Writes small SVG files: paths, circles and real text, in points from the upper left corner."""

import html
import re
import unicodedata
from collections.abc import Iterable

import numpy as np

_NARROW, _WIDE = "ijltfrI.,:;!|'()[]{}/\\ -", "mwMW%@"


class Drawing:
    """Elements of an SVG in the order in which they are painted. Every style is written once."""

    def __init__(self) -> None:
        self._elements: list[str] = []
        self._classes: dict[str, str] = {}

    def path(self, d: str, style: str) -> None:
        """A path, `d` in SVG's commands."""
        self._elements.append(f'<path d="{d}" class="{self._class(style)}"/>')

    def rectangle(self, x: float, y: float, width: float, height: float, style: str) -> None:
        """A rectangle with its upper left corner at (x, y)."""
        self.path(commands("M", x, y, "h", width, "v", height, "H", x, "z"), style)

    def circles(self, x: Iterable[float], y: Iterable[float], radius: float, style: str) -> None:
        """A circle around each of the points."""
        ends = f'r="{number(radius)}" class="{self._class(style)}"/>'
        self._elements += [
            f'<circle cx="{number(a)}" cy="{number(b)}" {ends}' for a, b in zip(x, y, strict=True)
        ]

    def text(self, x: float, y: float, content: str, style: str, upwards: bool = False) -> None:
        """Text on the base line y, or on the line x where it runs upwards."""
        place = f'x="{number(x)}" y="{number(y)}"'
        if upwards:
            place += f' transform="rotate(-90 {number(x)} {number(y)})"'
        text = html.escape(content, quote=False)
        self._elements.append(f'<text {place} class="{self._class(style)}">{text}</text>')

    def image(self, x: float, y: float, width: float, height: float, source: str) -> None:
        """A picture whose pixels stay sharp.

        Args:
          x, y: its upper left corner.
          width, height: of all of it.
          source: its contents as a data URL.
        """
        style = self._class("image-rendering:crisp-edges;image-rendering:pixelated")
        self._elements.append(
            f'<image x="{number(x)}" y="{number(y)}" width="{number(width)}" '
            f'height="{number(height)}" preserveAspectRatio="none" class="{style}" '
            f'href="{source}"/>'
        )

    def finish(self, width: float, height: float) -> str:
        """The <svg> element."""
        size = f'width="{number(width)}pt" height="{number(height)}pt"'
        rules = "".join(f".{name}{{{style}}}" for style, name in self._classes.items())
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" {size} '
            f'viewBox="0 0 {number(width)} {number(height)}">'
            f"<style>path{{stroke-linejoin:round}}{rules}</style>{''.join(self._elements)}</svg>\n"
        )

    def _class(self, style: str) -> str:
        return self._classes.setdefault(style, f"s{len(self._classes)}")


def number(value: float) -> str:
    """Hundredths of a point, in as few characters as it takes."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def commands(*parts: str | float) -> str:
    """Commands of a path: letters, and the numbers after each.

    commands("M", 1, 2, "V", 3) is 'M1 2V3'.
    """
    text = " ".join(part if isinstance(part, str) else number(part) for part in parts)
    return re.sub(r" ?([A-Za-z]) ?", r"\1", text)


def polyline(x: np.ndarray, y: np.ndarray) -> str:
    """A line through the points as commands of a path; [N] each, and NaN leaves a gap.

    Of consecutive points within a column of half a point's width only the first, lowest, highest
    and last are kept: with all others the line covers the same pixels.
    """
    known = np.isfinite(x) & np.isfinite(y)
    pieces = np.split(np.arange(len(x)), np.flatnonzero(np.diff(known)) + 1)
    drawn = []
    for piece in pieces:
        if len(piece) and known[piece[0]]:
            chosen = piece[_visible(x[piece], y[piece])]
            points = zip(x[chosen], y[chosen], strict=True)
            drawn.append("M" + "L".join(f"{number(a)} {number(b)}" for a, b in points))
    return "".join(drawn)


def _visible(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Indices of the points without which the line through all of them would look different."""
    column = np.floor(2 * x)
    chosen: set[int] = set()
    for piece in np.split(np.arange(len(x)), np.flatnonzero(np.diff(column)) + 1):
        chosen |= {piece[0], piece[-1], piece[np.argmin(y[piece])], piece[np.argmax(y[piece])]}
    return np.array(sorted(chosen))


def text_width(text: str, size: float) -> float:
    """About the width of a text in points, rather too much: the font is the reader's.

    The widths are those of DejaVu Sans, which is among the widest that browsers take.
    """
    return size * sum(map(_width, text))


def _width(character: str) -> float:
    """In multiples of the font's size."""
    if character in _NARROW:
        return 0.4
    if character in _WIDE:
        return 1.0
    if unicodedata.east_asian_width(character) in "WF":
        return 1.0
    return 0.77 if re.match(r"[^\W\d_a-z]", character) and character.isupper() else 0.64
