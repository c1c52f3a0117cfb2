"""Is there somebody to compare with?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from causalbench.report.canvas import COUNTERFACTUAL, OBSERVED, Drawing, canvas, find_check, legend_above, to_svg

PLACE = 61

_CHECK = "overlap"


def draw(evidence: Mapping[str, Any], metric: str) -> Drawing | None:
    """Draw the probability of treatment in both arms, before and after weighting; None where it wasn't estimated."""
    check = find_check(evidence, metric, _CHECK)
    if check is None or not check["table"]:
        return None
    table = check["table"]
    edges = np.array(table["edges"])
    middles, width = (edges[1:] + edges[:-1]) / 2, edges[1] - edges[0]
    with canvas(height=3.4) as (figure, (axes,)):
        for arm, sign, colour in (("treated", 1, OBSERVED), ("control", -1, COUNTERFACTUAL)):
            shares, weighted = (sign * 100 * np.array(table[f"{kind}_{arm}"]) for kind in ("shares", "weighted"))
            label = f"{table[f'n_{arm}']:,} {'controls' if arm == 'control' else arm}"
            axes.bar(middles, shares, width=0.92 * width, color=colour, alpha=0.55, label=label)
            if arm == "control" or table["estimand"] == "ate":
                size = f"weighted: like {table[f'ess_{arm}']:,.1f} with equal weights"
                axes.stairs(weighted, edges, color=colour, linewidth=1.4, label=size, baseline=None)
        axes.axhline(0, color="#5b6470", linewidth=0.8)
        axes.set_xlim(0, 1)
        low, high = axes.get_ylim()
        axes.set_ylim(1.08 * low, 1.08 * high)
        axes.yaxis.set_major_formatter(lambda value, _: f"{abs(value):g}%")
        axes.set_xlabel("estimated probability of treatment")
        axes.set_ylabel("share of the arm\n(treated up, controls down)")
        axes.set_title("Who could have been in either group")
        legend_above(axes, ncols=2 if table["estimand"] == "ate" else 3)
        svg = to_svg(figure)
    return Drawing(
        name="propensity_overlap",
        svg=svg,
        alt=f"Histograms of the estimated probability of treatment. Medians: treated {table['quantiles_treated'][2]:.2f}, "
        f"controls {table['quantiles_control'][2]:.2f}. {check['reason']}",
        caption="Bars are shares of each arm, treated upwards and controls downwards. The line is the arm once it is weighted to "
        "look like those whose effect is estimated: where it stands far from the bars, few units carry the comparison.",
    )
