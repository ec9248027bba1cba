"""Pages that need nothing besides themselves: text, pictures in place, and the numbers of each as a table."""

import html
import re
import urllib.parse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from radlite.data import pictures
from radlite.data.pictures import GROUND, INK

Cell = str | int


@dataclass(frozen=True)
class Picture:
    """A figure with what it shows in words and in numbers. `name` is a word of its own on the page; `cards` as in
    `Table`."""

    name: str
    heading: str
    caption: str
    figure: Any
    head: tuple[str, ...]
    table: Sequence[Sequence[Cell]]
    cards: bool = False


@dataclass(frozen=True)
class Table:
    """Numbers without a picture, and what is to be said of them below. A line of one cell is the heading of the lines
    that follow. `cards`: on a narrow screen each line stands by itself, with the heads beside its cells."""

    heading: str
    head: tuple[str, ...]
    table: Sequence[Sequence[Cell]]
    caption: str = ""
    cards: bool = False


@dataclass(frozen=True)
class Chapter:
    """Parts under one heading, which a page shows when it is opened."""

    heading: str
    parts: Sequence["Picture | Table"]


Part = Picture | Table | Chapter


_STYLE = """
:root{color-scheme:light dark;--ink:#1a1a1a;--ground:#fff;--line:#c4c4c4;--link:#0b57a4;--band:#eef1f4}
@media(prefers-color-scheme:dark){:root{--ink:#ececec;--ground:#16181b;--line:#4a4d52;--link:#8ec5ff;--band:#24282d}}
body{margin:0 auto;padding:1rem;max-width:54rem;background:var(--ground);color:var(--ink);
font:1rem/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.5rem;line-height:1.25}h2{font-size:1.15rem;margin:2rem 0 .25rem}h3{font-size:1rem;margin:1.5rem 0 .25rem}
a{color:var(--link)}figure{margin:0}.wide{overflow-x:auto;overflow-wrap:break-word}
.wide:focus-visible{outline:2px solid var(--link)}
svg{display:block;width:100%;height:auto}svg *{stroke-linejoin:round;stroke-linecap:butt}
figcaption{margin:.25rem 0 .5rem}summary{cursor:pointer}summary:has(h2){margin:.6rem 0}summary>h2{display:inline}
table{border-collapse:collapse;font-size:.875rem;font-variant-numeric:tabular-nums}
th,td{min-width:6rem;padding:.2rem .6rem .2rem 0;text-align:left;vertical-align:top;
border-bottom:1px solid var(--line)}
.number{text-align:right}.number,.value{white-space:nowrap}th.group{background:var(--band);padding:.3rem .4rem}
.cards table{width:100%}.cards :is(th,td){min-width:5.4em}.cards :is(th,td):first-child{min-width:6.6em}
.cards .number{min-width:0}
@media screen and (max-width:40rem){.cards thead{display:none}.cards :is(table,tbody,tr,th){display:block}
.cards tr{border-bottom:1px solid var(--line);padding:.3rem 0}.cards :is(th,td){border:0;min-width:0;white-space:normal}
.cards td{display:inline-block;padding:0 .9rem 0 0;text-align:left}
.cards td:first-child{display:block;font-weight:600}.cards td:empty{display:none}
.cards td:not(:first-child)::before{content:attr(data-head) ": ";opacity:.75}.cards th.group{margin-top:.8rem}}
@media print{:root{--ink:#000;--ground:#fff;--line:#999;--band:#eee}@page{margin:14mm}
body{max-width:none;padding:0;font-size:10pt}.wide{overflow:visible;overflow-wrap:anywhere}table{font-size:8pt;line-height:1.25}
th,td{padding:.12rem .5rem .12rem 0}.wide :is(th,td){min-width:0;white-space:normal}
.wide :is(th,td):first-child{min-width:5em}
.many table{font-size:6pt}.many :is(th,td){padding-right:.2rem}
svg{min-width:0!important;max-width:24rem!important;max-height:20cm}
.whole,tr{break-inside:avoid}h1,h2,h3,summary,thead,tr:has(.group){break-after:avoid}
.screen,details:not([open]){display:none}summary{list-style:none;break-inside:avoid}summary>h2{display:block}p{orphans:3;widows:3}}
"""
_MANY = 6
"""Columns from which a table is small in print."""


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
    head = f"<h{level}>{text(shown.heading)}</h{level}>"
    if isinstance(shown, Chapter):
        parts = "".join(part(one, level + 1) for one in shown.parts)
        return f"<details>\n<summary>{head}</summary>\n{parts}</details>\n"
    words = f"<p>{text(shown.caption)}</p>\n" if shown.caption else ""
    return f"<section>\n{head}\n{table(shown.head, shown.table, shown.heading, shown.cards)}\n{words}</section>\n"


def section(picture: Picture, svg: bytes, png: str = "", level: int = 2) -> str:
    """A picture, and its numbers in a table that opens. `png` is a file beside the page with the same picture.

    `level` is that of its heading.
    """
    link = f'\n<a class="screen" href="{text(urllib.parse.quote(png))}">PNG</a>' if png else ""
    return f"""<section>
<div class="whole">
<h{level}>{text(picture.heading)}</h{level}>
<figure>
<div class="wide" tabindex="0" role="group" aria-label="{text(picture.heading)}, picture">
{_inline(svg, picture)}
</div>
<figcaption>{text(picture.caption)}{link}</figcaption>
</figure>
</div>
<details>
<summary>The numbers as a table</summary>
{table(picture.head, picture.table, f"{picture.heading}, table", picture.cards)}
</details>
</section>
"""


def table(head: Sequence[str], rows: Sequence[Sequence[Cell]], what: str, cards: bool = False) -> str:
    """A table as `Table` has it; on a narrow screen it can be moved sideways, or stands as `cards`.

    `what` names it to those who do not see it.
    """
    columns = [[row[at] for row in rows if len(row) > 1] for at in range(len(head))]
    numbers = [any(column) and all(map(_is_number, column)) for column in columns]
    names = "".join(
        f'<th scope="col"{_align(number)}>{text(name)}</th>' for name, number in zip(head, numbers, strict=True)
    )
    lines: list[str] = []
    for row in rows:
        if len(row) == 1 < len(head):
            group = f'<tr><th class="group" scope="rowgroup" colspan="{len(head)}">{_said(row[0])}</th></tr>'
            lines.append(f"</tbody>\n<tbody>\n{group}" if lines else group)
        else:
            cells = (
                _cell(value, number, name if cards else "")
                for name, number, value in zip(head, numbers, row, strict=True)
            )
            lines.append(f"<tr>{''.join(cells)}</tr>")
    kind = "cards" if cards else "wide many" if len(head) > _MANY else "wide"
    reach = "" if cards else ' tabindex="0"'
    return (
        f'<div class="{kind}"{reach} role="group" aria-label="{text(what)}"><table>\n'
        f"<thead><tr>{names}</tr></thead>\n<tbody>\n" + "\n".join(lines) + "\n</tbody></table></div>"
    )


def _cell(value: Cell, number: bool, head: str) -> str:
    interval = isinstance(value, str) and re.fullmatch(r"[0-9.]+ \[[0-9.]+, [0-9.]+\](?: \(\w+\))?", value)
    kind = ' class="value"' if interval else _align(number)
    named = f' data-head="{text(head)}"' if head else ""
    return f"<td{kind}{named}>{_said(value)}</td>"


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
            element.set(
                name,
                value.replace("url(#", f"url(#{picture.name}-")
                .replace(INK, "currentColor")
                .replace(GROUND, "var(--ground)"),
            )
    for size in ("width", "height", "version"):
        root.attrib.pop(size, None)
    width = float(root.attrib["viewBox"].split()[2])  # in points: the type stays between 7 and 15 pixels
    root.set("style", f"min-width:{width * 0.0595:.1f}rem;max-width:{width * 0.107:.1f}rem")
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
        cells = [_escaped(f"{cell:,}" if isinstance(cell, int) else cell) for cell in row]
        if len(cells) == 1 < len(shown.head):
            cells = [f"**{cells[0]}**", *[""] * (len(shown.head) - 1)]
        yield f"| {' | '.join(cells)} |"
    yield ""
    if shown.caption:
        yield _escaped(shown.caption)
        yield ""


def _escaped(said: str) -> str:
    """Any text as Markdown that means it letter by letter."""
    return re.sub(r"([\\`*_{}\[\]<>|#~&!])", r"\\\1", pictures.plain(said)).strip()
