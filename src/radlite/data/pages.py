"""Pages that need nothing besides themselves: text, pictures in place, and the numbers of each as a table."""

import html
import re
import urllib.parse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from radlite.data import pictures
from radlite.data.pictures import INK

Cell = str | int


@dataclass(frozen=True)
class Picture:
    """A figure with what it shows in words and in numbers. `name` is a word of its own on the page."""

    name: str
    heading: str
    caption: str
    figure: Any
    head: tuple[str, ...]
    table: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Table:
    """Numbers without a picture, and what is to be said of them below."""

    heading: str
    head: tuple[str, ...]
    table: Sequence[Sequence[Cell]]
    caption: str = ""


@dataclass(frozen=True)
class Chapter:
    """Parts under one heading, which a page shows when it is opened."""

    heading: str
    parts: Sequence["Picture | Table"]


Part = Picture | Table | Chapter


_STYLE = """
:root{color-scheme:light dark;--ink:#1a1a1a;--ground:#fff;--line:#c4c4c4;--link:#0b57a4}
@media(prefers-color-scheme:dark){:root{--ink:#ececec;--ground:#16181b;--line:#4a4d52;--link:#8ec5ff}}
body{margin:0 auto;padding:1rem;max-width:54rem;background:var(--ground);color:var(--ink);
font:1rem/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.5rem;line-height:1.25}h2{font-size:1.15rem;margin:2rem 0 .25rem}a{color:var(--link)}
figure{margin:0}.wide{overflow-x:auto}.wide:focus-visible{outline:2px solid var(--link)}
svg{display:block;width:100%;min-width:30rem;height:auto}svg *{stroke-linejoin:round;stroke-linecap:butt}
figcaption{margin:.25rem 0 .5rem}
table{border-collapse:collapse;font-size:.875rem;font-variant-numeric:tabular-nums}
th,td{min-width:6rem;padding:.2rem .6rem .2rem 0;text-align:left;vertical-align:top;
border-bottom:1px solid var(--line)}
.number{text-align:right}summary{cursor:pointer}
@media print{:root{--ink:#000;--ground:#fff}body{max-width:none;padding:0}.wide{overflow:visible}svg{min-width:0}
figure,tr{break-inside:avoid}h2,summary{break-after:avoid}.screen{display:none}details::details-content{content-visibility:visible}}
"""


def page(title: str, lead: str, body: str) -> str:
    """A whole page. `lead` and `body` are HTML. It may load nothing, and runs nothing."""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{text(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{text(title)}</h1>
{lead}
{body}</body>
</html>
"""


def part(shown: Part, level: int = 2) -> str:
    """A part of a page; `level` is that of its heading."""
    if isinstance(shown, Picture):
        return section(shown, pictures.saved(shown.figure, "svg"), level=level)
    head = f"<section>\n<h{level}>{text(shown.heading)}</h{level}>\n"
    if isinstance(shown, Chapter):
        parts = "".join(part(one, level + 1) for one in shown.parts)
        return f"{head}<details>\n<summary>Open</summary>\n{parts}</details>\n</section>\n"
    words = f"<p>{text(shown.caption)}</p>\n" if shown.caption else ""
    return f"{head}{table(shown.head, shown.table, shown.heading)}\n{words}</section>\n"


def section(picture: Picture, svg: bytes, png: str = "", level: int = 2) -> str:
    """A picture, and its numbers in a table that opens. `png` is a file beside the page with the same picture.

    `level` is that of its heading.
    """
    link = f'\n<a class="screen" href="{text(urllib.parse.quote(png))}">PNG</a>' if png else ""
    return f"""<section>
<h{level}>{text(picture.heading)}</h{level}>
<figure>
<div class="wide" tabindex="0" role="group" aria-label="{text(picture.heading)}, picture">
{_inline(svg, picture)}
</div>
<figcaption>{text(picture.caption)}{link}</figcaption>
</figure>
<details>
<summary>The numbers as a table</summary>
{table(picture.head, picture.table, f"{picture.heading}, table")}
</details>
</section>
"""


def table(head: Sequence[str], rows: Sequence[Sequence[Cell]], what: str) -> str:
    """A table; on a narrow screen it can be moved sideways. `what` names it to those who do not see it."""
    columns = [[row[at] for row in rows] for at in range(len(head))]
    numbers = [any(column) and all(map(_is_number, column)) for column in columns]
    names = "".join(
        f'<th scope="col"{_align(number)}>{text(name)}</th>' for name, number in zip(head, numbers, strict=True)
    )
    cells = "\n".join(
        "<tr>" + "".join(f"<td{_align(_is_number(value))}>{_said(value)}</td>" for value in row) + "</tr>"
        for row in rows
    )
    return (
        f'<div class="wide" tabindex="0" role="group" aria-label="{text(what)}"><table>\n'
        f"<thead><tr>{names}</tr></thead>\n<tbody>\n{cells}\n</tbody></table></div>"
    )


def _is_number(value: Cell) -> bool:
    return isinstance(value, int) or re.fullmatch(r"(?:[0-9,.]+(?: %)?)?", value) is not None


def _align(number: bool) -> str:
    return ' class="number"' if number else ""


def _said(value: Cell) -> str:
    return f"{value:,}" if isinstance(value, int) else text(value)


def text(said: str) -> str:
    """Any text as HTML."""
    return html.escape(pictures.plain(said))


def _inline(svg: bytes, picture: Picture) -> str:
    """matplotlib's SVG as a part of the page: own ids, colours of the scheme, nothing that names another place."""
    root = ElementTree.fromstring(svg)
    for element in root.iter():
        for child in list(element):
            if child.tag.rpartition("}")[2] in ("metadata", "style"):
                element.remove(child)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        for key, value in list(element.attrib.items()):
            del element.attrib[key]
            name = key.rpartition("}")[2]
            if name in ("id", "href"):
                value = re.sub("^#?", lambda sign: f"{sign[0]}{picture.name}-", value)
            element.set(name, value.replace("url(#", f"url(#{picture.name}-").replace(INK, "currentColor"))
    for size in ("width", "height", "version"):
        root.attrib.pop(size, None)
    root.set("role", "img")
    root.set("aria-label", f"{picture.caption} The table below has the numbers.")
    return ElementTree.tostring(root, encoding="unicode")


def markdown(shown: Part, level: int = 2) -> Iterator[str]:
    """The same as lines of Markdown: headings, words and tables."""
    yield f"{'#' * level} {_escaped(shown.heading)}"
    yield ""
    if isinstance(shown, Chapter):
        for one in shown.parts:
            yield from markdown(one, level + 1)
        return
    yield f"| {' | '.join(map(_escaped, shown.head))} |"
    yield f"|{'---|' * len(shown.head)}"
    for row in shown.table:
        yield f"| {' | '.join(_escaped(f'{cell:,}' if isinstance(cell, int) else cell) for cell in row)} |"
    yield ""
    if shown.caption:
        yield _escaped(shown.caption)
        yield ""


def _escaped(said: str) -> str:
    """Any text as Markdown that means it letter by letter."""
    return re.sub(r"([\\`*_{}\[\]<>|#~&!])", r"\\\1", pictures.plain(said)).strip()
