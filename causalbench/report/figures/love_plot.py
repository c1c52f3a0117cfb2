"""Are the groups alike once they are weighted?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from causalbench.report.canvas import (
    COUNTERFACTUAL,
    FAINT,
    INK,
    MUTED,
    OBSERVED,
    Drawing,
    canvas,
    find_check,
    legend_above,
    short,
    to_svg,
)

PLACE = 62

_CHECK = "covariate-balance"
_SHOWN = 20


def draw(evidence: Mapping[str, Any], metric: str) -> Drawing | None:
    """Draw standardized differences before and after weighting; None where they weren't computed."""
    check = find_check(evidence, metric, _CHECK)
    if check is None or not check["table"]:
        return None
    every = check["table"]["covariates"]
    kept = sorted(every, key=lambda row: -max(abs(row["before"]), abs(row["after"])))[:_SHOWN]
    rows = [row for row in every if row in kept][::-1]
    limit = check["threshold"]
    with canvas(height=1.3 + 0.22 * len(rows)) as (figure, (axes,)):
        axes.axvspan(-limit, limit, color=FAINT, alpha=0.25, linewidth=0)
        axes.axvline(0, color=MUTED, linewidth=0.8)
        places = list(range(len(rows)))
        for place, row in zip(places, rows, strict=True):
            axes.plot([row["before"], row["after"]], [place, place], color=FAINT, linewidth=1, zorder=1)
        axes.plot(
            [row["before"] for row in rows],
            places,
            color=COUNTERFACTUAL,
            marker="o",
            markerfacecolor="white",
            linestyle="none",
            label="before weighting",
        )
        axes.plot([row["after"] for row in rows], places, color=OBSERVED, marker="o", linestyle="none", label="after")
        axes.set_yticks(places, [short(row["name"]) for row in rows], color=INK)
        axes.set_ylim(-0.7, len(rows) - 0.3)
        axes.set_xlabel("difference of means, treated less controls, in standard deviations")
        axes.set_title("How alike the groups are")
        axes.grid(visible=False, axis="y")
        legend_above(axes, ncols=2)
        svg = to_svg(figure)
    more = f" The {_SHOWN} largest of {len(every)} covariates are shown." if len(every) > _SHOWN else ""
    return Drawing(
        name="love_plot",
        svg=svg,
        alt=f"Standardized differences of covariates before and after weighting. {check['reason']}",
        caption=f"Open circles: differences between the groups as they are. Filled: after weighting, the differences that the "
        f"effect is estimated beside. The band is {limit} standard deviations to either side, a convention.{more}",
    )
