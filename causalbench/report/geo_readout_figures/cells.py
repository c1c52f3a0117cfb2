"""Which cells had an effect, all tests counted?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from causalbench.report.canvas import INK, MUTED, OBSERVED, Drawing, canvas, short, to_svg
from causalbench.report.geo_readout_figures._test import decisive, draw_set, ends_of, frame, result_of
from causalbench.wording import interval_text, number

PLACE = 30


def draw(evidence: Mapping[str, Any], metric: str) -> list[Drawing]:
    """Draw the cells' estimates and sets below each other; nothing for a single cell."""
    result = result_of(evidence, metric)
    if result is None or len(result["cells"]) < 2:
        return []
    cells = result["cells"]
    sets = [decisive(cell)[1] for cell in cells]
    values = [cell["effect"]["value"] for cell in cells]
    limits = frame([*values, *(end for one in sets for end in ends_of(one))])
    with canvas(height=1.2 + 0.4 * len(cells)) as (figure, (axes,)):
        for place, (value, interval) in enumerate(reversed(list(zip(values, sets, strict=True)))):
            draw_set(axes, place, interval, limits, colour=OBSERVED, width=2.0)
            axes.plot([value], [place], color=OBSERVED, marker="o", markersize=6)
        axes.axvline(0, color=MUTED, linewidth=0.8)
        axes.set_xlim(*limits)
        axes.set_ylim(-0.6, len(cells) - 0.4)
        names = [f"{short(cell['cell'])}\n{_evidence(cell)}" for cell in reversed(cells)]
        axes.set_yticks(range(len(cells)), names, color=INK)
        axes.set_xlabel(f"average effect, {result['units']}")
        axes.set_title("Every cell against the controls", pad=8)
        axes.grid(visible=False, axis="y")
        svg = to_svg(figure)
    told = "; ".join(
        f"{cell['cell']} {number(value)} ({interval_text(interval)}, {_evidence(cell)})"
        for cell, value, interval in zip(cells, values, sets, strict=True)
    )
    return [
        Drawing(
            name="cells",
            svg=svg,
            alt=f"Estimates and sets of {len(cells)} cells: {told}.",
            caption="Each cell's estimate (point) and its set (line; an arrow where it has no end). The sets hold for all "
            "cells at once; one that leaves zero out shows an effect, all cells' tests counted.",
        )
    ]


def _evidence(cell: Mapping[str, Any]) -> str:
    p, _ = decisive(cell)
    return "p not computed" if p is None else f"adjusted p = {p:.3g}"
