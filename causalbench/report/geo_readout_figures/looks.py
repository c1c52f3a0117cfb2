"""May the test stop early?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.ticker import MaxNLocator

from causalbench.report.canvas import COUNTERFACTUAL, MUTED, OBSERVED, Drawing, canvas, legend_above, to_svg
from causalbench.wording import number

PLACE = 60


def draw(evidence: Mapping[str, Any], metric: str) -> list[Drawing]:
    """Draw the effect at every look beside what it has to exceed in order to stop; nothing without looks."""
    return [
        _draw_cell(row, "looks" if k == 1 else f"looks_{k}")
        for k, row in enumerate((row for row in evidence["looks"] if row["monitoring"] is not None), start=1)
        if evidence["headline"]["metric"] == metric
    ]


def _draw_cell(row: Mapping[str, Any], name: str) -> Drawing:
    found = row["monitoring"]
    looks = found["looks"]
    x = [look["n_periods"] for look in looks]
    values = [look["value"] for look in looks]
    bounds = [(look["n_periods"], look["critical_value"]) for look in looks if look["critical_value"] is not None]
    with canvas(height=3.0) as (figure, (axes,)):
        for sign in (1, -1):
            axes.plot(
                [n for n, _ in bounds],
                [sign * bound for _, bound in bounds],
                color=COUNTERFACTUAL,
                linestyle="--",
                linewidth=1.2,
                marker="_",
                label="to be exceeded in order to stop" if sign > 0 else None,
            )
        axes.plot(x, values, color=OBSERVED, marker="o", linewidth=1.4, label="average effect so far")
        axes.axhline(0, color=MUTED, linewidth=0.8)
        axes.set_xlim(0, found["planned"][-1] * 1.05)
        axes.set_xticks(found["planned"])
        axes.yaxis.set_major_locator(MaxNLocator(6))
        axes.set_xlabel("periods of the test elapsed")
        axes.set_ylabel("average effect")
        axes.set_title(f"{row['cell']}: interim looks")
        legend_above(axes, ncols=2)
        svg = to_svg(figure)
    told = "; ".join(
        f"after {look['n_periods']} periods {number(look['value'])}, p {number(look['p_value'])}"
        f"{', stop' if look['stopped'] else ''}"
        for look in looks
    )
    return Drawing(
        name=name,
        svg=svg,
        alt=f"Effect at {len(looks)} of {len(found['planned'])} looks: {told}.",
        caption="The effect at each look, and what its absolute value has to exceed there so that the test may stop. The "
        "bounds come from the design's own draws, all looks together, so that peeking costs nothing beyond the level.",
    )
