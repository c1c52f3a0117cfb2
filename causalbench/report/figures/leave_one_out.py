"""Does the answer hang on one donor?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from causalbench.report.canvas import (
    COUNTERFACTUAL,
    FAINT,
    MUTED,
    OBSERVED,
    Drawing,
    canvas,
    find_check,
    find_estimate,
    label_periods,
    legend_above,
    mark_launch,
    positions,
    short,
    to_svg,
)
from causalbench.wording import number

PLACE = 70


def draw(evidence: Mapping[str, Any], metric: str) -> Drawing | None:
    """Draw the gap with all donors among those without each weighted donor; None where none was left out."""
    check = find_check(evidence, metric, "leave-one-donor-out")
    if check is None or not check["table"].get("gaps"):
        return None
    estimate, table = find_estimate(evidence, metric), check["table"]
    x, start, furthest = positions(estimate["path"]["periods"]), estimate["n_pre"], table["furthest"]
    with canvas(height=3.4) as (figure, (axes,)):
        others = [gap for unit, gap in sorted(table["gaps"].items()) if unit != furthest]
        for i, gap in enumerate(others):
            label = "without one donor each" if i == 0 else None
            axes.plot(x, _numbers(gap), color=FAINT, linewidth=0.8, alpha=0.8, label=label)
        axes.plot(
            x,
            _numbers(table["gaps"][furthest]),
            color=COUNTERFACTUAL,
            linewidth=1.2,
            linestyle="--",
            label=f"without {short(furthest)}",
        )
        axes.plot(x, _numbers(estimate["path"]["effect"]), color=OBSERVED, linewidth=2, label="with all donors")
        axes.axhline(0, color=MUTED, linewidth=0.8)
        mark_launch(axes, x[start])
        label_periods(axes, x)
        axes.set_title("The gap without each donor that has weight")
        axes.set_ylabel(f"gap in {short(metric)}")
        legend_above(axes, ncols=3)
        svg = to_svg(figure)
    effects, left_out = table["effects"], len(table["gaps"])
    low, high = min(effects.values()), max(effects.values())
    which = f"the {left_out} heaviest of {table['n_weighted']}" if left_out < table["n_weighted"] else f"{left_out}"
    return Drawing(
        name="leave_one_out",
        svg=svg,
        alt=f"Line chart of the treated units' gap with all donors, in bold, and without each of {which} weighted donors. The "
        f"average effect is {number(estimate['value'])} with all of them and lies between {number(low)} and {number(high)} "
        f"without one; {furthest} matters most.",
        caption="Every thin line is the gap when one donor with weight is left out and the others take its place. Lines that "
        "stay together after the launch (dashed vertical line) say that no single donor makes the effect.",
    )


def _numbers(values: list[float | None]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array(values, dtype=float)
