"""What came back for the money?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from causalbench.report.canvas import INK, MUTED, OBSERVED, Drawing, canvas, short, to_svg
from causalbench.report.geo_readout_figures._test import draw_set, ends_of, frame, result_of
from causalbench.wording import interval_text, number

PLACE = 50


def draw(evidence: Mapping[str, Any], metric: str) -> list[Drawing]:
    """Draw every incremental return with its set; nothing without a cost."""
    result = result_of(evidence, metric)
    rows = [row for row in result["returns"] if row["value"] is not None] if result else []
    if not rows:
        return []
    limits = frame([*(row["value"] for row in rows), *(end for row in rows for end in ends_of(row["interval"])), 1.0])
    with canvas(height=1.2 + 0.4 * len(rows)) as (figure, (axes,)):
        for place, row in enumerate(reversed(rows)):
            colour = OBSERVED if row["planned"] else MUTED
            draw_set(axes, place, row["interval"], limits, colour=colour, width=2.4 if row["planned"] else 1.4)
            axes.plot([row["value"]], [place], color=colour, marker="o", markersize=7 if row["planned"] else 5)
        axes.axvline(0, color=MUTED, linewidth=0.8)
        axes.axvline(1, color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
        axes.set_xlim(*limits)
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.set_yticks(range(len(rows)), [f"{short(r['cell'])}\n{r['method']}" for r in reversed(rows)], color=INK)
        axes.set_xlabel(f"{metric} per unit of cost")
        axes.set_title("Incremental return", pad=8)
        axes.grid(visible=False, axis="y")
        svg = to_svg(figure)
    told = "; ".join(f"{r['cell']}, {r['method']}: {number(r['value'])} ({interval_text(r['interval'])})" for r in rows)
    return [
        Drawing(
            name="returns",
            svg=svg,
            alt=f"Incremental returns: {told}.",
            caption="Incremental outcome over incremental cost (point) and its set (line; an arrow where it has no end). The "
            "dashed line is a return of one.",
        )
    ]
