"""What all figures share: colours that follow the page's theme, plain text, and bytes that don't change."""

from __future__ import annotations

import datetime as dt
import html
import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import matplotlib as mpl
from matplotlib import dates as mdates
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

INK, MUTED, GRID, FAINT = "#1b1f24", "#5b6470", "#e3e6ea", "#a9b1bb"
OBSERVED, COUNTERFACTUAL, BAND = "#0a5f8a", "#b5490f", "#0a5f8b"

_THEME = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--grid)",
    FAINT: "var(--faint)",
    OBSERVED: "var(--observed)",
    COUNTERFACTUAL: "var(--counterfactual)",
    BAND: "var(--band)",
}

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "causalbench",
    "text.parse_math": False,
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titlepad": 22,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Drawing:
    """A finished figure.

    Attributes
    ----------
    name
        File name without ending.
    svg
        The picture, in light colours, complete by itself.
    alt
        What it shows, in words, with the numbers that matter.
    caption
        How to read it, one or two sentences.
    """

    name: str
    svg: str
    alt: str
    caption: str

    def __repr__(self) -> str:
        return f"Drawing({self.name!r})"

    def inline(self) -> str:
        """Return the picture for a page: colours follow its theme, the alternative text is attached."""
        body = self.svg[self.svg.index("<svg") :]
        for colour, variable in _THEME.items():
            body = body.replace(colour, variable)
        body = re.sub(r'(<svg[^>]*?) width="[^"]+"', r"\1", body, count=1)
        body = re.sub(r'(<svg[^>]*?) height="[^"]+"', r"\1", body, count=1)
        return body.replace("<svg", f'<svg role="img" aria-label="{html.escape(self.alt)}"', 1)

    def stamped(self, stamp: str) -> Drawing:
        """Return the drawing with a word in its upper right corner, its caption and its alternative text."""
        box = re.search(r'viewBox="[\d.]+ [\d.]+ ([\d.]+) ', self.svg)
        word = f'<text x="{float(box[1]) - 4 if box else 0:.0f}" y="10" text-anchor="end" '
        word += f"style=\"font: bold 9px 'DejaVu Sans', Verdana, sans-serif; fill: {COUNTERFACTUAL}\">{html.escape(stamp)}</text>"
        svg = f"{word}\n</svg>".join(self.svg.rsplit("</svg>", 1))
        return replace(self, svg=svg, alt=f"{stamp}. {self.alt}", caption=f"{stamp}. {self.caption}")

    def _repr_html_(self) -> str:
        body = self.svg[self.svg.index("<svg") :].replace(
            "<svg", f'<svg role="img" aria-label="{html.escape(self.alt)}"', 1
        )
        caption = f"<figcaption>{html.escape(self.caption)}</figcaption>"
        return f'<figure style="background:#fff;max-width:760px">{body}{caption}</figure>'


class Picture(Figure):
    """A matplotlib figure that a notebook shows by itself, without pyplot."""

    def _repr_svg_(self) -> str:
        with mpl.rc_context(_STYLE):
            return to_svg(self)


@contextmanager
def canvas(
    *, width: float = 7.6, height: float = 3.4, rows: int = 1, ratios: Sequence[float] = (1,)
) -> Iterator[tuple[Figure, list[Axes]]]:
    """Open a figure with stacked panels under the house style; nothing global is changed."""
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # The reader's browser has the letters that the font used for measuring lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        figure = Picture(figsize=(width, height), layout="constrained")
        axes = figure.subplots(rows, 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": list(ratios)})
        yield figure, list(axes[:, 0])


def to_svg(figure: Figure) -> str:
    """Write a figure as SVG with short coordinates, without date or program; call inside :func:`canvas`."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", buffer.getvalue(), flags=re.DOTALL)
    text = re.sub(r"<[^>]*>", lambda tag: re.sub(r"-?\d+\.\d{3,}", _short_coordinate, tag[0]), text)
    return text.replace("font: 9px 'DejaVu Sans'", "font: 9px 'DejaVu Sans', Verdana, sans-serif")


def _short_coordinate(match: re.Match[str]) -> str:
    return f"{float(match[0]):.2f}".rstrip("0").rstrip(".")


def legend_above(axes: Axes, *, ncols: int) -> None:
    """Place the legend between title and axes, where no line runs through it; nothing where nothing has a name."""
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="lower left", bbox_to_anchor=(-0.01, 0.99), ncols=ncols, borderaxespad=0.2)


def short(name: str) -> str:
    """Cut a long name for a picture; the page has it in full."""
    return name if len(name) <= 32 else f"{name[:31]}…"


def label_periods(axes: Axes, x: Sequence[Any]) -> None:
    """Write dates short on the axis, each part once; numbers stay as they are."""
    if x and isinstance(x[0], dt.datetime):
        locator = mdates.AutoDateLocator(minticks=4, maxticks=9)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def positions(labels: Sequence[Any]) -> list[Any]:
    """Return where periods go on the axis: their dates, or their numbers."""
    if labels and isinstance(labels[0], str):
        return [dt.datetime.fromisoformat(label) for label in labels]
    return list(labels)


def find_estimate(evidence: Mapping[str, Any], metric: str) -> Mapping[str, Any]:
    """Return the estimate of a metric."""
    return next(estimate for estimate in evidence["estimates"] if estimate["metric"] == metric)


def find_check(evidence: Mapping[str, Any], metric: str, name: str) -> Mapping[str, Any] | None:
    """Return a check's result, None where it wasn't run."""
    return next((check for check in evidence["checks"][metric] if check["name"] == name), None)


def mark_launch(axes: Axes, at: Any) -> None:
    """Draw the launch as a vertical line."""
    axes.axvline(at, color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
