"""What happened, and what would have happened without the launch?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from causalbench.report.figures.canvas import (
    BAND,
    COUNTERFACTUAL,
    MUTED,
    OBSERVED,
    Drawing,
    canvas,
    find_estimate,
    label_periods,
    mark_launch,
    positions,
    to_svg,
)
from causalbench.wording import interval_text, number


def draw(evidence: Mapping[str, Any], metric: str) -> Drawing:
    """Draw observed and counterfactual path, and below it their difference with the set of constant effects."""
    estimate = find_estimate(evidence, metric)
    path, start = estimate["path"], estimate["n_pre"]
    x = positions(path["periods"])
    interval = estimate["interval"]
    with canvas(height=4.6, rows=2, ratios=(3, 2)) as (figure, (upper, lower)):
        upper.plot(x, path["observed"], color=OBSERVED, linewidth=1.6, label="observed, mean of the treated")
        upper.plot(
            x,
            path["counterfactual"],
            color=COUNTERFACTUAL,
            linewidth=1.4,
            linestyle="--",
            label="without the launch (estimated)",
        )
        upper.set_title(f"{metric}: what happened, and what would have happened without the launch")
        upper.set_ylabel(metric)
        upper.legend(loc="upper left", ncols=2, bbox_to_anchor=(0, 1.0))
        upper.margins(y=0.18)
        mark_launch(upper, x[start])
        lower.axhline(0, color=MUTED, linewidth=0.8)
        lower.plot(x, path["effect"], color=OBSERVED, linewidth=1.4, label="difference")
        for low, high in interval["segments"] if interval else []:
            if low is not None and high is not None:
                label = f"{100 * interval['level']:g}% set of a constant effect"
                lower.fill_between(x[start:], low, high, color=BAND, alpha=0.18, linewidth=0, label=label)
        lower.hlines(
            estimate["value"],
            x[start],
            x[-1],
            color=OBSERVED,
            linewidth=2.4,
            label=f"mean effect {number(estimate['value'])}",
        )
        lower.set_ylabel("difference")
        lower.legend(loc="upper left", ncols=3)
        lower.margins(y=0.35)
        mark_launch(lower, x[start])
        label_periods(lower, x)
        figure.align_ylabels([upper, lower])
        svg = to_svg(figure)
    first = path["periods"][start]
    level = f"{100 * interval['level']:g}% set: {interval_text(interval)}. " if interval else ""
    return Drawing(
        name="effect_path",
        svg=svg,
        alt=f"Line chart of {metric} from {path['periods'][0]} to {path['periods'][-1]}. The launch is at {first}. From "
        f"then on the treated average {number(estimate['value'], sign=True)} {estimate['estimand']['units']} against the "
        f"estimated path without the launch. {level}",
        caption="Above: the treated units' mean and its estimated path without the launch (dashed vertical line: launch). "
        "Below: their difference; before the launch it shows how well the method follows.",
    )
