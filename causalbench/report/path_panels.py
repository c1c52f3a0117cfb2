"""Three panels of one path: what happened and was predicted, their difference, and its running sum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from causalbench.report.canvas import (
    BAND,
    COUNTERFACTUAL,
    MUTED,
    OBSERVED,
    canvas,
    label_periods,
    legend_above,
    mark_launch,
    short,
)

Panel = Literal["original", "pointwise", "cumulative"]
PANELS: tuple[Panel, ...] = get_args(Panel)
Values: TypeAlias = NDArray[np.float64]

_FEW = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PathPanels:
    """What the panels show, period by period; every array has shape (n_periods,), NaN where there is nothing.

    Attributes
    ----------
    x
        Where the periods go on the axis, see :func:`causalbench.report.canvas.positions`.
    observed, predicted
        The outcome, and its prediction without the launch.
    lower, upper
        Band of the prediction.
    cumulative, cumulative_lower, cumulative_upper
        Running sum of the difference since the launch, and its band.
    launch
        Place on the axis of the first period with the launch.
    level
        Of the bands.
    outcome
        What is measured.
    series
        What the observed series is called.
    """

    x: Sequence[Any]
    observed: Values
    predicted: Values
    lower: Values
    upper: Values
    cumulative: Values
    cumulative_lower: Values
    cumulative_upper: Values
    launch: Any
    level: float
    outcome: str
    series: str = "observed"


def figure(paths: PathPanels, panels: Sequence[Panel], *, figsize: tuple[float, float]) -> Figure:
    """Return a figure with one panel below the other."""
    ratios = [3 if panel == "original" else 2 for panel in panels]
    with canvas(width=figsize[0], height=figsize[1], rows=len(panels), ratios=ratios) as (drawn, axes):
        drawn.set_facecolor("white")
        for panel, place in zip(panels, axes, strict=True):
            draw_panel(place, panel, paths)
        drawn.align_ylabels(axes)
    return drawn


def draw_panel(axes: Axes, panel: Panel, paths: PathPanels) -> None:
    """Draw one of the panels ``original``, ``pointwise`` and ``cumulative``."""
    if panel == "original":
        _draw_original(axes, paths)
    elif panel == "pointwise":
        effect = paths.observed - paths.predicted
        _draw_effect(axes, paths, effect, paths.observed - paths.upper, paths.observed - paths.lower)
        axes.set_ylabel("effect by period")
    else:
        _draw_effect(axes, paths, paths.cumulative, paths.cumulative_lower, paths.cumulative_upper)
        axes.set_ylabel("effect, running sum")
    mark_launch(axes, paths.launch)
    label_periods(axes, list(paths.x))


def _draw_original(axes: Axes, paths: PathPanels) -> None:
    axes.plot(paths.x, paths.observed, color=OBSERVED, linewidth=1.6, label=paths.series)
    axes.plot(
        paths.x,
        paths.predicted,
        color=COUNTERFACTUAL,
        linewidth=1.4,
        linestyle="--",
        label="without the launch (estimated)",
    )
    label = f"{100 * paths.level:g}% band"
    _fill(axes, paths.x, paths.lower, paths.upper, colour=COUNTERFACTUAL, label=label)
    axes.set_ylabel(short(paths.outcome))
    legend_above(axes, ncols=3)


def _draw_effect(axes: Axes, paths: PathPanels, effect: Values, lower: Values, upper: Values) -> None:
    axes.axhline(0, color=MUTED, linewidth=0.8)
    _fill(axes, paths.x, lower, upper, colour=BAND)
    few = int(np.isfinite(effect).sum()) <= _FEW
    axes.plot(paths.x, effect, color=OBSERVED, linewidth=1.4, marker="." if few else None)


def _fill(axes: Axes, x: Sequence[Any], lower: Values, upper: Values, *, colour: str, label: str = "") -> None:
    """Draw a band where it is known; for a single period a bar."""
    known = np.flatnonzero(np.isfinite(lower) & np.isfinite(upper))
    if len(known) == 1:
        axes.vlines(x[known[0]], lower[known[0]], upper[known[0]], color=colour, alpha=0.35, linewidth=6, label=label)
    elif len(known):
        axes.fill_between(x, lower, upper, color=colour, alpha=0.18, linewidth=0, label=label)
