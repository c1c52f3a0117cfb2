"""What happened, what would have happened, and how sure is that, period by period and in total?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from causalbench.report.canvas import (
    BAND,
    COUNTERFACTUAL,
    MUTED,
    OBSERVED,
    Drawing,
    canvas,
    find_estimate,
    label_periods,
    legend_above,
    mark_launch,
    positions,
    short,
    to_svg,
)
from causalbench.report.figures.effect_path import draw_paths
from causalbench.wording import interval_name, interval_text, number

PLACE = 11


def draw(evidence: Mapping[str, Any], metric: str) -> Drawing | None:
    """Draw paths, effect and running sum of the effect with their bands; None where there are no bands by period."""
    estimate = find_estimate(evidence, metric)
    bands, path = estimate["path_bands"], estimate["path"]
    if bands is None:
        return None
    x, start = positions(path["periods"]), estimate["n_pre"]
    effect, observed = _numbers(path["effect"]), _numbers(path["observed"])
    lower, upper = _numbers(bands["lower"]), _numbers(bands["upper"])
    level = f"{100 * bands['level']:g}%"
    with canvas(height=6.6, rows=3, ratios=(3, 2, 2)) as (figure, (paths, single, total)):
        draw_paths(paths, x, path)
        _fill(
            paths, x, observed - upper, observed - lower, colour=COUNTERFACTUAL, label=f"{level} {bands['kind']} band"
        )
        paths.set_title(f"{short(metric)}: what happened, and what would have happened without the launch")
        paths.set_ylabel(short(metric))
        legend_above(paths, ncols=3)
        _draw_effect(single, x, effect, lower, upper)
        single.set_ylabel("effect by period")
        running = np.cumsum(np.nan_to_num(effect[start:]))
        sums = (_numbers(bands[f"cumulative_{end}"])[start:] for end in ("lower", "upper"))
        _draw_effect(total, x[start:], running, *sums)
        total.set_ylabel("effect, running sum")
        label_periods(total, x)
        for axes in (paths, single, total):
            mark_launch(axes, x[start])
        figure.align_ylabels([paths, single, total])
        svg = to_svg(figure)
    return Drawing(
        name="posterior_panels",
        svg=svg,
        alt=f"Three line charts of {metric} from {path['periods'][0]} to {path['periods'][-1]}, launch at "
        f"{path['periods'][start]}: observed and estimated path, effect by period, and its running sum, which ends at "
        f"{number(float(running[-1]), sign=True)}{_last(bands)}. The effect averages {number(estimate['value'], sign=True)} "
        f"{estimate['estimand']['units']}; {interval_name(estimate)}: {interval_text(estimate['interval'])}.",
        caption="Above: the treated units' mean and its estimated path without the launch (dashed vertical line: launch). "
        "Middle: their difference; before the launch it shows how well the method follows. Below: the difference summed up "
        f"from the launch on, per treated unit. The {level} bands ({bands['kind']}) hold for one period looked at alone.",
    )


def _numbers(values: Sequence[float | None]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array(values, dtype=float)


def _fill(
    axes: Axes,
    x: list[Any],
    lower: np.ndarray[Any, np.dtype[np.float64]],
    upper: np.ndarray[Any, np.dtype[np.float64]],
    *,
    colour: str,
    label: str = "",
) -> None:
    """Draw a band where it is known; for a single period a bar."""
    known = np.flatnonzero(np.isfinite(lower) & np.isfinite(upper))
    if len(known) == 1:
        axes.vlines(x[known[0]], lower[known[0]], upper[known[0]], color=colour, alpha=0.35, linewidth=6, label=label)
    elif len(known):
        axes.fill_between(x, lower, upper, color=colour, alpha=0.18, linewidth=0, label=label)


def _draw_effect(
    axes: Axes,
    x: list[Any],
    effect: np.ndarray[Any, np.dtype[np.float64]],
    lower: np.ndarray[Any, np.dtype[np.float64]],
    upper: np.ndarray[Any, np.dtype[np.float64]],
) -> None:
    axes.axhline(0, color=MUTED, linewidth=0.8)
    _fill(axes, x, lower, upper, colour=BAND)
    axes.plot(x, effect, color=OBSERVED, linewidth=1.4, marker="." if len(x) <= 3 else None)


def _last(bands: Mapping[str, Any]) -> str:
    """Write the band of the running sum in the last period, where there is one."""
    ends = (bands["cumulative_lower"][-1], bands["cumulative_upper"][-1])
    return "" if None in ends else f" (band {interval_text({'segments': [ends]})})"
