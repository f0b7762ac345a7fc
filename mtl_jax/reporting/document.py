"""A document as a list of blocks, written as Markdown and as HTML."""

import dataclasses
import html
import itertools
import re
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from mtl_jax import _files
from mtl_jax.reporting.style import CSS, INK_DARK, INK_LIGHT, PAPER_DARK, PAPER_LIGHT
from mtl_jax.runs.files import write_text

FIGURES, PICTURES = "figures", "pictures"


class Strong(str):
    """A cell of a table that stands out."""

    __slots__ = ()


@dataclasses.dataclass(frozen=True)
class Heading:
    """A heading; level 1 is the title."""

    text: str
    level: int


@dataclasses.dataclass(frozen=True)
class Text:
    """A paragraph of plain text."""

    text: str


@dataclasses.dataclass(frozen=True)
class Listing:
    """Text whose lines are kept, such as an error message."""

    text: str


@dataclasses.dataclass(frozen=True)
class Table:
    """A table whose first column names its rows.

    Attributes:
      header: one text for each column.
      rows: as many cells each; a `Strong` one stands out.
      caption: above it.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""

    def __post_init__(self):
        for row in self.rows:
            if len(row) != len(self.header):
                raise ValueError(f"Expected {len(self.header)} cells, {self.header}; found {row}.")


@dataclasses.dataclass(frozen=True)
class Figure:
    """A chart.

    Attributes:
      name: of its file, without number and suffix.
      svg: as `charts` draws it, in `charts.INK` on nothing.
      title: what it shows.
      large: it needs the whole width, and is not shrunk on a phone but scrolled.
    """

    name: str
    svg: str
    title: str
    large: bool = False


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture made of pixels.

    Attributes:
      name: of its file, without number and suffix.
      jpeg: the file's contents.
      title: what it shows.
    """

    name: str
    jpeg: bytes
    title: str


Block = Heading | Text | Listing | Table | Figure | Picture
INK = "#010203"  # stands for the text's colour in an SVG, whatever that is where it is shown


def file_name(*parts: str) -> str:
    """Letters, digits and _ . - only."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", "_".join(parts))


def write(blocks: Sequence[Block], folder: Path) -> list[Path]:
    """Writes report.md, report.html and the files that they show.

    Both show the same files. Charts are light or dark as the reader's system is, like the HTML.

    Args:
      blocks: the document.
      folder: created if need be. The files of an earlier report in it are removed when all of
        this one is written.

    Returns:
      The two files.

    Raises:
      OSError: they cannot be written; an earlier report is as it was.
    """
    files = folder / "report.md", folder / "report.html"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".report_", dir=folder) as name:
        new = Path(name)
        _write_files(_numbered(blocks), new)
        for part in (FIGURES, PICTURES):
            for old in (folder / part).glob("[0-9]*_*") if files[0].exists() else ():
                old.unlink()
        for part in (FIGURES, PICTURES, ""):
            (folder / part).mkdir(exist_ok=True)
            for file in (new / part).iterdir():
                if file.is_file():
                    file.replace(folder / part / file.name)
    return list(files)


def _write_files(blocks: Sequence[Block], folder: Path) -> None:
    for part in (FIGURES, PICTURES):
        (folder / part).mkdir()
    for block in blocks:
        if isinstance(block, Figure):
            svg = block.svg.replace(INK, "currentColor").replace("<style", _COLOURS + "<style", 1)
            _files.write(folder / FIGURES / f"{block.name}.svg", svg.encode(), durable=False)
        elif isinstance(block, Picture):
            _files.write(folder / PICTURES / f"{block.name}.jpg", block.jpeg, durable=False)
    write_text(folder / "report.md", markdown(blocks))
    write_text(folder / "report.html", as_html(blocks))


def _numbered(blocks: Sequence[Block]) -> list[Block]:
    """Numbers the files, so that no two have one name, and a folder shows them in order."""
    count = itertools.count()
    return [
        dataclasses.replace(block, name=f"{next(count):03d}_{block.name}")
        if isinstance(block, Figure | Picture)
        else block
        for block in blocks
    ]


# An image takes no colour from its page, but does know the system's preference.
_COLOURS = (
    f"<style>svg{{color:{INK_LIGHT};background:{PAPER_LIGHT}}}@media(prefers-color-scheme:dark)"
    f"{{svg{{color:{INK_DARK};background:{PAPER_DARK}}}}}</style>"
)


def markdown(blocks: Iterable[Block]) -> str:
    """The document as Markdown."""
    return "\n\n".join(_markdown(block) for block in blocks) + "\n"


def _markdown(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {_escaped(text)}"
        case Text(text):
            return _BEGINNING.sub(lambda m: m[1] + m[2][:-1] + "\\" + m[2][-1], _escaped(text))
        case Listing(text):
            return "```\n" + text.replace("```", "'''") + "\n```"
        case Table(header, rows, caption):
            rule = ["---" if is_text else "---:" for is_text in _text_columns(rows)]
            lines = [[*map(_markdown_cell, cells)] for cells in (header, *rows)]
            lines.insert(1, rule)
            table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
            return f"**{_escaped(caption)}**\n\n{table}" if caption else table
        case Figure(name, _, title):
            return f"![{_escaped(title)}]({FIGURES}/{name}.svg)"
        case Picture(name, _, title):
            title = _escaped(title)
            return f"![{title}]({PICTURES}/{name}.jpg)\n\n*{title}*"


def _text_columns(rows: Sequence[Sequence[str]]) -> list[bool]:
    """Which columns hold words and not numbers; the first always does."""
    words = [
        any(re.match(r"[^\W\d_]|'|\(", cell) for cell in column)
        for column in zip(*rows, strict=True)
    ]
    return [True, *words[1:]]


# What Markdown reads as more than text wherever it stands, and _ only beside a blank.
_MARKUP = re.compile(r"[\\`*\[\]|~]|(?<![^\W_])_|_(?![^\W_])")
# What it reads so at the beginning of a line: headings, lists, quotes, rules.
_BEGINNING = re.compile(r"^(\s*)([#>+=-]|\d+[.)])")


def _escaped(text: str) -> str:
    """Text of one line, of which Markdown shows every character as it is."""
    text = " ".join(text.split("\n"))
    return _MARKUP.sub(r"\\\g<0>", text).replace("&", "&amp;").replace("<", "&lt;")


def _markdown_cell(cell: str) -> str:
    text = _escaped(cell)
    return f"**{text}**" if isinstance(cell, Strong) else text


def as_html(blocks: Sequence[Block]) -> str:
    """The document as one HTML file with its style."""
    (title,) = [b.text for b in blocks if isinstance(b, Heading) and b.level == 1]
    links = [
        f'<li class="level{b.level}"><a href="#{i}">{html.escape(b.text)}</a></li>'
        for i, b in enumerate(blocks)
        if isinstance(b, Heading) and b.level > 1
    ]
    body = []
    for number, block in enumerate(blocks):
        # Figures that follow each other share a grid.
        is_small = _is_small(block)
        if is_small and not (number and _is_small(blocks[number - 1])):
            body.append('<div class="grid">')
        body.append(_html(block, number))
        if is_small and not (number + 1 < len(blocks) and _is_small(blocks[number + 1])):
            body.append("</div>")
        if isinstance(block, Heading) and block.level == 1:
            body.append(f"<nav><ul>{''.join(links)}</ul></nav>")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{html.escape(title)}</title>\n<style>\n{CSS}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(body)
        + "\n</main>\n</body>\n</html>\n"
    )


def _is_small(block: Block) -> bool:
    return isinstance(block, Figure) and not block.large


def _html(block: Block, number: int) -> str:
    match block:
        case Heading(text, level):
            return f'<h{level} id="{number}">{html.escape(text)}</h{level}>'
        case Text(text):
            return f"<p>{html.escape(text)}</p>"
        case Listing(text):
            return f"<pre>{html.escape(text)}</pre>"
        case Table(header, rows, caption):
            return _html_table(header, rows, caption)
        case Figure(name, _, title, large):
            kind = "chart large" if large else "chart"
            return _html_image(kind, f"{FIGURES}/{name}.svg", title)
        case Picture(name, _, title):
            return _html_image("strip", f"{PICTURES}/{name}.jpg", title)


def _html_image(kind: str, source: str, title: str) -> str:
    text = html.escape(title)
    return (
        f'<figure class="{kind}"><figcaption>{text}</figcaption>'
        f'<div class="scroll"><img loading="lazy" alt="{text}" src="{source}"></div></figure>'
    )


def _html_table(header, rows, caption) -> str:
    kinds = ['class="text"' if is_text else "" for is_text in _text_columns(rows)]
    head = "".join(
        f'<th scope="col" {kind}>{html.escape(cell)}</th>'
        for cell, kind in zip(header, kinds, strict=True)
    )
    lines = [f"<thead><tr>{head}</tr></thead>", "<tbody>"]
    for row in rows:
        first, *rest = (
            f"<strong>{html.escape(cell)}</strong>"
            if isinstance(cell, Strong)
            else html.escape(cell)
            for cell in row
        )
        first = re.sub(r"(?<=\w[/_])(?=\w)", "<wbr>", first)
        cells = "".join(
            f"<td {kind}>{cell}</td>" for cell, kind in zip(rest, kinds[1:], strict=True)
        )
        lines.append(f'<tr><th scope="row">{first}</th>{cells}</tr>')
    above = f'<p class="caption">{html.escape(caption)}</p>' if caption else ""
    return f'{above}<div class="scroll"><table>{"".join(lines)}</tbody></table></div>'
