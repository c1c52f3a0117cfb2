"""Do other methods for the same test give the same answer?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from causalbench.report.canvas import INK, MUTED, OBSERVED, Drawing, canvas, to_svg
from causalbench.report.geo_readout_figures._test import draw_set, ends_of, frame, result_of
from causalbench.wording import interval_text, number

PLACE = 20


def draw(evidence: Mapping[str, Any], metric: str) -> list[Drawing]:
    """Draw each method's estimate and set, the planned analysis first; nothing where it stands alone."""
    result = result_of(evidence, metric)
    rows = [row for row in result["methods"] if row["value"] is not None] if result else []
    if result is None or len(rows) < 2:
        return []
    several = len(result["cells"]) > 1
    limits = frame([*(row["value"] for row in rows), *(end for row in rows for end in ends_of(row["interval"]))])
    with canvas(height=1.2 + 0.4 * len(rows)) as (figure, (axes,)):
        for place, row in enumerate(reversed(rows)):
            planned = bool(row["planned"])
            colour = OBSERVED if planned else MUTED
            draw_set(axes, place, row["interval"], limits, colour=colour, width=2.4 if planned else 1.4)
            axes.plot([row["value"]], [place], color=colour, marker="o", markersize=7 if planned else 5)
        axes.axvline(0, color=MUTED, linewidth=0.8)
        axes.set_xlim(*limits)
        axes.set_ylim(-0.6, len(rows) - 0.4)
        cell = {row["cell"]: f"{row['cell']}: " if several else "" for row in rows}
        names = [f"{cell[row['cell']]}{row['method']}\n{row['inference'] or 'no interval'}" for row in reversed(rows)]
        axes.set_yticks(range(len(rows)), names, color=INK)
        axes.set_xlabel(f"average effect, {result['units']}")
        axes.set_title("The same test, answered by other methods", pad=8)
        axes.grid(visible=False, axis="y")
        svg = to_svg(figure)
    told = "; ".join(
        f"{cell[row['cell']]}{row['method']} {number(row['value'])} ({interval_text(row['interval'])})" for row in rows
    )
    levels = sorted({row["interval"]["level"] for row in rows if row["interval"]})
    level = f" at {100 * levels[0]:g}%" if levels else ""
    return [
        Drawing(
            name="methods",
            svg=svg,
            alt=f"Estimates and sets{level} of {len(rows)} analyses: {told}.",
            caption=f"Each method's estimate (point) and set{level} (line; an arrow where it has no end; no line where it is "
            "empty or the method gives none), by the inference named below it. Strong: the planned analysis, which alone "
            "makes the headline. The others show how much the answer hangs on what one method assumes.",
        )
    ]
