"""Which effects does the test reject, and why can p-value and set not disagree?"""

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
    legend_above,
    short,
    to_svg,
)
from causalbench.report.geo_readout_figures._test import result_of, said
from causalbench.wording import interval_text, number

PLACE = 40


def draw(evidence: Mapping[str, Any], metric: str) -> list[Drawing]:
    """Draw p against the tested effect for each cell, with the line that the level draws."""
    result = result_of(evidence, metric)
    if result is None:
        return []
    pairs = [pair for pair in zip(result["cells"], result["curves"], strict=True) if pair[1] is not None]
    return [
        _draw_cell(cell["cell"], said(result, cell), curve, "p_curve" if k == 1 else f"p_curve_{k}")
        for k, (cell, curve) in enumerate(pairs, start=1)
    ]


def _draw_cell(cell: str, estimate: Mapping[str, Any], curve: Mapping[str, Any], name: str) -> Drawing:
    interval, limit = estimate["interval"], 1 - estimate["interval"]["level"]
    with canvas(height=3.2) as (figure, (axes,)):
        axes.plot(curve["effects"], curve["p_values"], color=OBSERVED, linewidth=1.4, label="p of this effect")
        axes.axhline(
            limit, color=COUNTERFACTUAL, linewidth=1.2, linestyle="--", label=f"{limit:.3g}: rejected up to here"
        )
        _draw_set(axes, interval, curve["effects"])
        axes.plot([0], [estimate["p_value"]], color=COUNTERFACTUAL, marker="o", linestyle="none", label="no effect")
        axes.axvline(estimate["value"], color=MUTED, linewidth=1, linestyle=(0, (3, 3)), label="estimate")
        axes.set_xlim(curve["effects"][0], curve["effects"][-1])
        axes.set_ylim(0, 1.05)
        axes.set_xlabel(f"tested effect, {estimate['units']}")
        axes.set_ylabel("p-value")
        axes.set_title(f"{short(cell)}: p of every effect, and the set", pad=38)
        legend_above(axes, ncols=3)
        svg = to_svg(figure)
    level = f"{100 * interval['level']:g}%"
    return Drawing(
        name=name,
        svg=svg,
        alt=f"p-value of every tested effect in {cell}: {number(estimate['p_value'])} of none; above {limit:.3g} for "
        f"{interval_text(interval)}.",
        caption=f"p-value and {level} set come from one family of tests: the shaded set is where the curve lies above the "
        "dashed line, and the p-value is the curve's height at zero. So no effect is rejected exactly where the set leaves "
        "zero out.",
    )


def _draw_set(axes: Axes, interval: Mapping[str, Any], effects: list[float]) -> None:
    label: str | None = f"{100 * interval['level']:g}% set"
    for low, high in interval["segments"]:
        span = (effects[0] if low is None else low, effects[-1] if high is None else high)
        axes.axvspan(*span, color=BAND, alpha=0.15, linewidth=0, label=label)
        label = None
