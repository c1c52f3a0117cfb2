"""What happened, what would have happened, and how sure is that, period by period and in total?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from causalbench.report.canvas import Drawing, canvas, find_estimate, positions, short, to_svg
from causalbench.report.path_panels import PathPanels, Values, draw_panel
from causalbench.wording import interval_name, interval_text, number

PLACE = 11


def draw(evidence: Mapping[str, Any], metric: str) -> Drawing | None:
    """Draw paths, effect and running sum of the effect with their bands; None where there are no bands by period."""
    estimate = find_estimate(evidence, metric)
    bands, path = estimate["path_bands"], estimate["path"]
    if bands is None:
        return None
    panels = _panels(estimate, metric)
    running, start, level = panels.cumulative, estimate["n_pre"], f"{100 * bands['level']:g}%"
    with canvas(height=6.6, rows=3, ratios=(3, 2, 2)) as (figure, (paths, single, total)):
        paths.set_title(f"{short(metric)}: what happened, and what would have happened without the launch")
        draw_panel(paths, "original", panels)
        draw_panel(single, "pointwise", panels)
        draw_panel(total, "cumulative", panels)
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


def _panels(estimate: Mapping[str, Any], metric: str) -> PathPanels:
    bands, path, start = estimate["path_bands"], estimate["path"], estimate["n_pre"]
    x, observed, effect = positions(path["periods"]), _numbers(path["observed"]), _numbers(path["effect"])
    before = np.full(start, np.nan)
    return PathPanels(
        x=x,
        observed=observed,
        predicted=_numbers(path["counterfactual"]),
        lower=observed - _numbers(bands["upper"]),
        upper=observed - _numbers(bands["lower"]),
        cumulative=np.concatenate([before, np.cumsum(np.nan_to_num(effect[start:]))]),
        cumulative_lower=np.concatenate([before, _numbers(bands["cumulative_lower"])[start:]]),
        cumulative_upper=np.concatenate([before, _numbers(bands["cumulative_upper"])[start:]]),
        launch=x[start],
        level=bands["level"],
        outcome=metric,
        series="observed, mean of the treated",
    )


def _numbers(values: Sequence[float | None]) -> Values:
    return np.array(values, dtype=float)


def _last(bands: Mapping[str, Any]) -> str:
    """Write the band of the running sum in the last period, where there is one."""
    ends = (bands["cumulative_lower"][-1], bands["cumulative_upper"][-1])
    return "" if None in ends else f" (band {interval_text({'segments': [ends]})})"
