"""Do units that got nothing show gaps as large?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from causalbench.report.canvas import (
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
    to_svg,
)

PLACE = 50


def draw(evidence: Mapping[str, Any], metric: str) -> Drawing | None:
    """Draw the treated gap among those of control units treated on paper, each over its own RMSPE before."""
    check = find_check(evidence, metric, "placebo-in-space")
    if check is None or not check["table"]:
        return None
    estimate, table = find_estimate(evidence, metric), check["table"]
    start = estimate["n_pre"]
    x = positions(estimate["path"]["periods"])
    if table["own_ratio"] is None or not table["gaps"]:
        return None
    controls, own = [_scaled(gap, start) for gap in table["gaps"]], _scaled(estimate["path"]["effect"], start)
    reach = 1.15 * max(float(np.abs(own).max()), float(np.quantile(np.abs(np.array(controls)), 0.995)))
    beyond = sum(bool((np.abs(line) > reach).any()) for line in controls)
    with canvas(height=3.4) as (figure, (axes,)):
        for i, line in enumerate(controls):
            label = "control units, one by one" if i == 0 else None
            axes.plot(x, line, color=FAINT, linewidth=0.7, alpha=0.7, label=label)
        axes.plot(x, own, color=OBSERVED, linewidth=2, label="treated")
        axes.set_ylim(-reach, reach)
        label_periods(axes, x)
        axes.axhline(0, color=MUTED, linewidth=0.8)
        mark_launch(axes, x[start])
        axes.set_title("The treated units' gap among those of units that got nothing")
        axes.set_ylabel("gap / its RMSPE before the launch")
        legend_above(axes, ncols=2)
        svg = to_svg(figure)
    total, drawn = len(table["units"]), len(controls)
    notes = [f"{beyond} of them {'reaches' if beyond == 1 else 'reach'} beyond the frame."] if beyond else []
    notes += [f"{drawn} of {total} are drawn, evenly by rank."] if drawn < total else []
    notes += [f"{table['n_perfect']} fit perfectly before and are left out."] if table["n_perfect"] else []
    return Drawing(
        name="placebo_gaps",
        svg=svg,
        alt=f"Line chart: the treated gap in bold among {drawn} thin lines, each a control unit treated on paper. "
        f"{check['reason']}",
        caption="Every thin line is a control unit to which the method was applied as if it had been treated. A line is "
        + " ".join(
            [
                "divided by its own root mean squared gap before the launch, so poor fits don't look like effects.",
                *notes,
            ]
        ),
    )


def _scaled(gap: list[float], start: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    values = np.array(gap, dtype=float)
    return values / float(np.sqrt((values[:start] ** 2).mean()))
