"""What all pictures have in common: colours, type, bars with their numbers at the ends, and how they are saved."""

import contextlib
import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from radlite.errors import UserError

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
"""Blue, orange, green, purple, sky blue and vermilion, which every kind of colour vision tells apart (Okabe and
Ito, Color Universal Design, 2008)."""
INK = "#1a1a1a"
"""Of text and axes; in a page it follows the light or dark scheme."""
GROUND = "#fefefe"
"""Behind text that stands on a pattern; in a page it follows the scheme too."""
WIDTH = 7.0
"""Inches of a picture; the type of 8.5 points is legible in a column of a paper and on a telephone."""
DPI = 200

_RC: Any = {
    "font.size": 8.5, "axes.titlesize": 8.5, "figure.titlesize": 10, "legend.fontsize": 8.5, "xtick.labelsize": 8,
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK, "xtick.color": INK, "ytick.color": INK,
    "axes.facecolor": "none", "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
    "text.parse_math": False, "svg.fonttype": "none", "svg.hashsalt": "radlite",
}  # fmt: skip


def demand() -> None:
    """Raise `UserError` if matplotlib is missing."""
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError as error:
        raise UserError("Pictures need matplotlib; install it with: pip install 'radlite[data]'.") from error


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Draw and save in the common style."""
    import matplotlib

    with matplotlib.rc_context(_RC), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # of a user's label: a box is drawn
        warnings.filterwarnings("ignore", message="constrained_layout not applied")  # of a name as wide as the picture
        yield


def figure(height: float, title: str, width: float = WIDTH) -> Any:
    """An empty figure, its size in inches. One of 4.4 inches is still legible on a telephone 360 pixels wide."""
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), layout="constrained", facecolor="none")
    made.suptitle(title, x=0.01, ha="left", weight="bold")
    return made


def bars(
    axes: Any,
    names: Sequence[str],
    series: Mapping[str, Sequence[float]],
    notes: Sequence[str],
    stacked: bool = True,
    lines: int = 0,
) -> None:
    """Horizontal bars from top to bottom, their `notes` at their ends: there is no axis of numbers to read off.

    `lines`: for how many bars there is room, so that those of two panels can be equally wide.
    """
    thick = 0.72 if stacked else 0.72 / len(series)
    ends = [0.0] * len(names)
    for at, (kind, values) in enumerate(series.items()):
        shift = 0.0 if stacked else (at - (len(series) - 1) / 2) * thick
        axes.barh(
            [line + shift for line in range(len(names))],
            values,
            height=thick,
            left=ends if stacked else 0,
            color=COLOURS[at % len(COLOURS)],
            label=short(kind),
        )
        ends = [end + value if stacked else max(end, value) for end, value in zip(ends, values, strict=True)]
    longest = max(ends, default=0) or 1
    for line, (end, note) in enumerate(zip(ends, notes, strict=True)):
        axes.annotate(
            note, (end, line), (4, 0), textcoords="offset points", va="center_baseline", annotation_clip=False
        )
    axes.set_xlim(0, longest)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.spines["left"].set_bounds(-0.5, len(names) - 0.5)
    axes.set_yticks(range(len(names)), [short(name) for name in names])
    axes.set_ylim(max(lines, len(names)) - 0.5, -0.5)
    if len(series) > 1:
        columns = len(series) if sum(map(len, series)) < 50 else 2
        axes.legend(loc="upper left", bbox_to_anchor=(0, 0), ncols=columns, borderaxespad=0.2)


def plain(text: str) -> str:
    """`text` without characters that no page may have."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def short(name: str) -> str:
    """A name that fits beside a bar: of a long one the middle is left out, as its end may be a version."""
    name = plain(name)
    if len(name) <= 40:
        return name
    start, end = name[:26].rpartition(" ")[0] or name[:22], name[-15:].partition(" ")[2] or name[-15:]
    return f"{start} … {end}"


def saved(made: Any, form: str) -> bytes:
    """The figure as a file of the form `png` or `svg`."""
    with io.BytesIO() as buffer:
        if form == "png":
            made.savefig(buffer, format="png", dpi=DPI, facecolor="white", metadata={"Software": None})
        else:
            made.savefig(buffer, format="svg", metadata={"Date": None})
        return buffer.getvalue()
