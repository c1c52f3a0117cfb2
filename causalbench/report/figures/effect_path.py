"""What happened, and what would have happened without the launch?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes

from causalbench.report.canvas import (
    BAND,
    COUNTERFACTUAL,
    FAINT,
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
from causalbench.wording import interval_name, interval_text, number

PLACE = 10

_ONE_LAUNCH = (
    "Above: the treated units' mean and its estimated path without the launch (dashed vertical line: launch). Below: their "
    "difference; before the launch it shows how well the method follows."
)
_SEVERAL = (
    "Above: the mean of all units that ever launch and its estimated path without any launch. Units launch at {} dates "
    "from {} (dashed vertical line) to {} (dotted: all after the first). Below: their difference. Until the last launch "
    "units still without it are in the mean, so the difference mixes effects with placebos"
)
_APART = "; the picture by time since the launch takes them apart"


def draw(evidence: Mapping[str, Any], metric: str) -> Drawing | None:
    """Draw observed and counterfactual path, and below it their difference with the set of effects.

    None where there are bands by period: the picture with bands shows the same and more. None for a comparison at one time.
    """
    estimate = find_estimate(evidence, metric)
    if estimate["path_bands"] is not None or not estimate["path"]["periods"]:
        return None
    path, start = estimate["path"], estimate["n_pre"]
    x = positions(path["periods"])
    apart = _APART if estimate["event_study"] is not None else ""
    launches = [period for period, _ in evidence["audits"][metric]["launches"]]
    with canvas(height=4.6, rows=2, ratios=(3, 2)) as (figure, (upper, lower)):
        _draw_paths(upper, x, path)
        upper.set_title(f"{short(metric)}: what happened, and what would have happened without the launch")
        upper.set_ylabel(short(metric))
        legend_above(upper, ncols=2)
        lower.axhline(0, color=MUTED, linewidth=0.8)
        lower.plot(
            x, path["effect"], color=OBSERVED, linewidth=1.4, marker="." if len(x) <= 3 else None, label="difference"
        )
        if len(launches) == 1:
            _draw_interval(lower, x[start:], estimate)
        lower.set_ylabel("difference")
        legend_above(lower, ncols=3)
        label_periods(lower, x)
        for axes in (upper, lower):
            mark_launch(axes, x[start])
            for later in positions(launches)[1:]:
                axes.axvline(later, color=FAINT, linewidth=0.8, linestyle=(0, (1, 2)))
        figure.align_ylabels([upper, lower])
        svg = to_svg(figure)
    return Drawing(
        name="effect_path",
        svg=svg,
        alt=f"Line chart of {metric} from {path['periods'][0]} to {path['periods'][-1]}. {_alt(estimate, launches)}",
        caption=_ONE_LAUNCH
        if len(launches) == 1
        else f"{_SEVERAL.format(len(launches), launches[0], launches[-1])}{apart}.",
    )


def _draw_paths(axes: Axes, x: list[Any], path: Mapping[str, Any]) -> None:
    """Draw the treated units' mean and its estimated path without the launch."""
    axes.plot(x, path["observed"], color=OBSERVED, linewidth=1.6, label="observed, mean of the treated")
    axes.plot(
        x,
        path["counterfactual"],
        color=COUNTERFACTUAL,
        linewidth=1.4,
        linestyle="--",
        label="without the launch (estimated)",
    )


def _alt(estimate: Mapping[str, Any], launches: list[Any]) -> str:
    interval = estimate["interval"]
    average = f"{number(estimate['value'], sign=True)} {estimate['estimand']['units']}"
    level = f" {100 * interval['level']:g}% set: {interval_text(interval)}." if interval else ""
    if len(launches) == 1:
        return (
            f"The launch is at {launches[0]}. From then on the treated average {average} against the estimated path "
            f"without the launch.{level}"
        )
    return (
        f"Units launch at {len(launches)} dates, the first at {launches[0]}, the last at {launches[-1]}. From its launch "
        f"on a unit averages {average} against the estimated path without it.{level}"
    )


def _draw_interval(axes: Axes, x: list[Any], estimate: Mapping[str, Any]) -> None:
    """Draw the mean effect and its set over the post period; an open end reaches the frame."""
    value, interval = estimate["value"], estimate["interval"]
    ends = [end for segment in (interval["segments"] if interval else []) for end in segment if end is not None]
    values = [*(gap for gap in estimate["path"]["effect"] if gap is not None), *ends]
    room = 0.1 * (max(values) - min(values)) or 1.0
    bottom, top = min(values) - room, max(values) + room
    axes.set_ylim(bottom, top)
    label = interval_name(estimate)
    for low, high in interval["segments"] if interval else []:
        span = (bottom if low is None else low, top if high is None else high)
        if len(x) > 1:
            axes.fill_between(x, *span, color=BAND, alpha=0.18, linewidth=0, label=label)
        else:
            axes.vlines(x, *span, color=BAND, alpha=0.35, linewidth=6, label=label)
        label = ""
    if len(x) > 1:
        axes.hlines(value, x[0], x[-1], color=OBSERVED, linewidth=2.4, label=f"mean effect {number(value)}")
    else:
        axes.plot(x, [value], color=OBSERVED, marker="o", linestyle="none", label=f"mean effect {number(value)}")
