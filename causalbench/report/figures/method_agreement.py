"""Do other methods for the same question give the same answer?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from causalbench.report.canvas import (
    INK,
    MUTED,
    OBSERVED,
    Drawing,
    canvas,
    find_check,
    find_estimate,
    to_svg,
)
from causalbench.wording import interval_text, number

PLACE = 80

_ROOM = 0.08


def draw(evidence: Mapping[str, Any], metric: str) -> Drawing | None:
    """Draw each method's estimate and interval; None where no other method answers."""
    check = find_check(evidence, metric, "method-agreement")
    rows = [row for row in check["table"]["methods"] if row["value"] is not None] if check and check["table"] else []
    if len(rows) < 2:
        return None
    estimate = find_estimate(evidence, metric)
    low, high = _frame(rows)
    with canvas(height=1.2 + 0.36 * len(rows)) as (figure, (axes,)):
        for place, row in enumerate(reversed(rows)):
            _draw_row(axes, place, row, low, high, bold=row is rows[0])
        axes.axvline(0, color=MUTED, linewidth=0.8)
        axes.set_xlim(low, high)
        axes.set_ylim(-0.6, len(rows) - 0.4)
        names = [f"{row['method']}\n{row['inference'] or 'no interval'}" for row in reversed(rows)]
        axes.set_yticks(range(len(rows)), names, color=INK)
        axes.set_xlabel(f"average effect, {estimate['estimand']['units']}")
        axes.set_title("The same question, answered by other methods", pad=8)
        axes.grid(visible=False, axis="y")
        svg = to_svg(figure)
    told = "; ".join(f"{row['method']} {number(row['value'])} ({interval_text(row['interval'])})" for row in rows)
    levels = sorted({row["interval"]["level"] for row in rows if row["interval"]})
    level = f" at {100 * levels[0]:g}%" if levels else ""
    return Drawing(
        name="method_agreement",
        svg=svg,
        alt=f"Estimates and intervals{level} of {len(rows)} methods: {told}.",
        caption=f"Each method's estimate (point) and interval{level} (line; an arrow where it has no end), by the inference "
        "named below it; the first is this report's. Where they agree, the answer doesn't hang on what one method "
        "assumes, though all use the same data and may be wrong together; where they differ, it does.",
    )


def _frame(rows: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Return the ends of the axis: every estimate, every finite end, and zero, with some room."""
    segments = [segment for row in rows if row["interval"] for segment in row["interval"]["segments"]]
    shown = [0.0, *(row["value"] for row in rows), *(end for ends in segments for end in ends if end is not None)]
    room = _ROOM * (max(shown) - min(shown)) or 1.0
    return min(shown) - room, max(shown) + room


def _draw_row(axes: Axes, place: int, row: Mapping[str, Any], low: float, high: float, *, bold: bool) -> None:
    """Draw one method's segments and its estimate; an open end gets an arrow at the frame."""
    colour = OBSERVED if bold else MUTED
    for lower, upper in row["interval"]["segments"] if row["interval"] else ():
        ends = (low if lower is None else lower, high if upper is None else upper)
        axes.hlines(place, *ends, color=colour, linewidth=2.4 if bold else 1.4)
        for end, at, marker in ((lower, ends[0], "<"), (upper, ends[1], ">")):
            if end is None:
                axes.plot([at], [place], color=colour, marker=marker, clip_on=False)
    axes.plot([row["value"]], [place], color=colour, marker="o", markersize=7 if bold else 5)
