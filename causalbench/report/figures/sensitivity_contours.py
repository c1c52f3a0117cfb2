"""How strong would a confounder have to be that nobody measured?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from causalbench.report.canvas import (
    COUNTERFACTUAL,
    FAINT,
    INK,
    OBSERVED,
    Drawing,
    canvas,
    find_check,
    legend_above,
    short,
    to_svg,
)
from causalbench.wording import number, percent

PLACE = 63

_CHECK = "robustness"
_MARKERS = ("o", "s", "^")


def draw(evidence: Mapping[str, Any], metric: str) -> Drawing | None:
    """Draw what would be left of the effect beside confounders of any strength; None where that wasn't computed."""
    check = find_check(evidence, metric, _CHECK)
    if check is None or not check["table"]:
        return None
    table = check["table"]
    x, y = (100 * np.array(table[name]) for name in ("with_treatment", "with_outcome"))
    left = np.array(table["left"])
    with canvas(height=4.2) as (figure, (axes,)):
        levels = [level for level in MaxNLocator(8).tick_values(left.min(), left.max()) if level != 0]
        contours = axes.contour(x, y, left, levels=levels, colors=FAINT, linewidths=0.9, linestyles="solid")
        axes.clabel(contours, fmt=number, fontsize=7, colors="#5b6470")
        shares = np.linspace(x[-1] / 200, x[-1], 200) / 100
        # Where bias and effect are equal: exact, and smoother than a contour of the grid.
        needed = (table["effect"] / table["std_error"]) ** 2 / table["dof"] * (1 - shares) / shares
        axes.plot(100 * shares, 100 * needed, color=COUNTERFACTUAL, linewidth=1.6, label="nothing left of the effect")
        for row, marker in zip(table["benchmarks"], _MARKERS, strict=False):
            bounds = row["bounds"]
            axes.plot(
                [100 * bound["with_treatment"] for bound in bounds],
                [100 * bound["with_outcome"] for bound in bounds],
                color=OBSERVED,
                marker=marker,
                markersize=5,
                linestyle=":",
                linewidth=0.8,
                label=f"1, 2, 3 times {short(row['name'])}",
            )
        value = 100 * table["robustness_value"]
        axes.plot([value], [value], color=INK, marker="D", linestyle="none", label=f"robustness value {value:.1f}%")
        axes.set_xlim(0, x[-1])
        axes.set_ylim(0, y[-1])
        axes.set_xlabel("what the confounder explains of the rest of the treatment (%)")
        axes.set_ylabel("of the rest of the outcome (%)")
        axes.set_title("What a confounder would leave of the effect", pad=38)
        axes.grid(visible=False)
        legend_above(axes, ncols=3)
        svg = to_svg(figure)
    return Drawing(
        name="sensitivity_contours",
        svg=svg,
        alt="Contours of the effect that would be left beside an unmeasured confounder. "
        f"From {number(table['effect'])} it falls to nothing where a confounder explains "
        f"{percent(table['robustness_value'])} of the rest of treatment and outcome. {check['reason']}",
        caption="Grey lines join confounders that would leave the same effect in a linear regression. The points are confounders "
        "one, two and three times as strong as covariates that were measured: if something as strong is missing, read off "
        "there what is left.",
    )
