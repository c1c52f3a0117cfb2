"""What happened in each cell, and what would have happened without the test?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes

from causalbench.report.canvas import (
    BAND,
    COUNTERFACTUAL,
    MUTED,
    OBSERVED,
    Drawing,
    canvas,
    label_periods,
    legend_above,
    positions,
    short,
    to_svg,
)
from causalbench.report.geo_readout_figures._test import ends_of, mark_test, result_of, said
from causalbench.wording import interval_name, interval_text, number

PLACE = 10


def draw(evidence: Mapping[str, Any], metric: str) -> list[Drawing]:
    """Draw each cell's observed and counterfactual path, and below it their difference with the set of effects."""
    result = result_of(evidence, metric)
    if result is None:
        return []
    return [_draw_cell(evidence["trial"], result, cell, k) for k, cell in enumerate(result["cells"], 1)]


def _draw_cell(
    trial: Mapping[str, Any], result: Mapping[str, Any], cell: Mapping[str, Any], number_of_cell: int
) -> Drawing:
    estimate, metric, path = said(result, cell), result["metric"], cell["path"]
    x = positions(path["periods"])
    with canvas(height=4.7, rows=2, ratios=(3, 2)) as (figure, (upper, lower)):
        mark_test(upper, x, trial, named=True)
        upper.plot(x, path["observed"], color=OBSERVED, linewidth=1.6, label="observed, mean of the cell")
        upper.plot(
            x,
            path["counterfactual"],
            color=COUNTERFACTUAL,
            linewidth=1.4,
            linestyle="--",
            label="without the test (estimated)",
        )
        upper.set_title(f"{short(cell['cell'])}: {short(metric)}, and what it would have been without the test")
        upper.set_ylabel(f"{short(metric)} per market")
        legend_above(upper, ncols=3)
        mark_test(lower, x, trial)
        lower.axhline(0, color=MUTED, linewidth=0.8)
        lower.plot(x, path["effect"], color=OBSERVED, linewidth=1.4, label="difference")
        _draw_set(lower, x[trial["n_pre"] :], estimate, path["effect"])
        lower.set_ylabel("difference")
        legend_above(lower, ncols=3)
        label_periods(lower, x)
        figure.align_ylabels([upper, lower])
        svg = to_svg(figure)
    interval = estimate["interval"]
    told = f" {100 * interval['level']:g}% set: {interval_text(interval)}." if interval else ""
    cooldown = f", then {trial['n_cooldown']} periods of cooldown" if trial["n_cooldown"] else ""
    return Drawing(
        name="effect_path" if number_of_cell == 1 else f"effect_path_{number_of_cell}",
        svg=svg,
        alt=f"Line chart of {metric} in {cell['cell']} from {path['periods'][0]} to {path['periods'][-1]}. The test runs from "
        f"{trial['start']} to {trial['end']}{cooldown}. Its markets average {number(estimate['value'], sign=True)} "
        f"{estimate['units']} against the estimated path without it.{told}",
        caption="Above: the mean of the cell's markets and its estimated path without the test (dashed vertical line: the "
        f"test's start{'; grey: cooldown, which counts' if trial['n_cooldown'] else ''}). Below: their difference; before "
        "the test it shows how well the method follows.",
    )


def _draw_set(axes: Axes, x: list[Any], estimate: Mapping[str, Any], gaps: list[float | None]) -> None:
    """Draw the mean effect and its set over the test; an open end reaches the frame."""
    interval, value = estimate["interval"], estimate["value"]
    values = [*(gap for gap in gaps if gap is not None), value, *ends_of(interval)]
    room = 0.1 * (max(values) - min(values)) or 1.0
    bottom, top = min(values) - room, max(values) + room
    axes.set_ylim(bottom, top)
    label: str | None = interval_name(estimate)
    for low, high in interval["segments"] if interval else ():
        span = (bottom if low is None else low, top if high is None else high)
        axes.fill_between(x, *span, color=BAND, alpha=0.18, linewidth=0, label=label)
        label = None
    axes.hlines(value, x[0], x[-1], color=OBSERVED, linewidth=2.4, label=f"mean effect {number(value)}")
