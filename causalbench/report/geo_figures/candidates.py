"""How do the proposals compare, and why this one?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from causalbench.report.canvas import COUNTERFACTUAL, INK, MUTED, OBSERVED, Drawing, canvas, legend_above, to_svg
from causalbench.report.geo_colours import PERCENT
from causalbench.wording import counted, number, percent

PLACE = 20

_NAMED = 3


def draw(evidence: Mapping[str, Any]) -> Drawing | None:
    """Draw each candidate's smallest detectable effect; None where there is only one, or none has any."""
    rows = [row for row in evidence["candidates"] if row["best"]["mde"] is not None]
    if len(evidence["candidates"]) < 2 or not rows:
        return None
    rows.sort(key=lambda row: row["best"]["mde"])
    claimed = evidence["chosen"]["mde"]
    with canvas(height=1.3 + 0.29 * len(rows)) as (figure, (axes,)):
        for place, row in enumerate(reversed(rows)):
            at, colour = 100 * row["best"]["mde"], OBSERVED if row["chosen"] else MUTED
            axes.hlines(place, 0, at, color=colour, linewidth=0.8)
            name = "windows seen by the search" if place == 0 else None
            axes.plot(
                [at], [place], marker="o", color=colour, markersize=7 if row["chosen"] else 5, linestyle="", label=name
            )
            if row["chosen"] and claimed is not None:
                axes.plot(
                    [100 * claimed],
                    [place],
                    marker="D",
                    color=COUNTERFACTUAL,
                    markersize=6,
                    linestyle="",
                    label="the chosen one, on other windows",
                )
            axes.annotate(
                _label(row),
                (max(at, 100 * claimed if row["chosen"] and claimed is not None else 0), place),
                xytext=(9, -3),
                textcoords="offset points",
                color=INK if row["chosen"] else MUTED,
            )
        names = [f"{row['rank']}. {_markets(row['cells'])}" for row in reversed(rows)]
        axes.set_yticks(range(len(rows)), names, color=INK)
        top = max([100 * row["best"]["mde"] for row in rows] + [100 * (claimed or 0)])
        axes.set_xlim(0, 1.9 * top)
        axes.set_ylim(-0.7, len(rows) - 0.3)
        axes.xaxis.set_major_formatter(PERCENT)
        axes.set_xlabel("smallest detectable effect of the worst cell, at the candidate's best duration")
        axes.set_title("Candidates")
        axes.grid(visible=False, axis="y")
        legend_above(axes, ncols=2)
        svg = to_svg(figure)
    first = rows[0]
    return Drawing(
        name="candidates",
        svg=svg,
        alt=f"Smallest detectable effects of {len(rows)} candidates on windows that the search has seen; the smallest is "
        f"{percent(first['best']['mde'])} of candidate {first['rank']}.",
        caption="Numbered by the selector's score, ordered by what they could detect. Comparisons use windows that the search "
        "has seen; the diamond is what the chosen one detects on windows that it hasn't, which is what counts."
        + (" Beside it duration and cost." if first["best"]["investment"] is not None else " Beside it the duration."),
    )


def _label(row: Mapping[str, Any]) -> str:
    best = row["best"]
    cost = "" if best["investment"] is None else f", {number(best['investment'], digits=3)}"
    over = "" if best["within_budget"] else ", over budget"
    return f"{counted(best['duration'], 'period')}{cost}{over}"


def _markets(cells: Mapping[str, Any]) -> str:
    """Name the treated markets in one short line."""
    names = [str(market) for members in cells.values() for market in members]
    more = f" +{len(names) - _NAMED}" if len(names) > _NAMED else ""
    text = ", ".join(name if len(name) <= 14 else f"{name[:13]}…" for name in names[:_NAMED])
    return text + more
