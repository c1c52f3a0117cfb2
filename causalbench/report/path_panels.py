"""Three panels of one path: what happened and was predicted, their difference, and its running sum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

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
)

Panel = Literal["original", "pointwise", "cumulative"]
Values: TypeAlias = NDArray[np.float64]


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
        What is measured, short enough for an axis.
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
    band: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "band", f"{100 * self.level:g}% band by period")


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
        _draw_difference(axes, paths, effect, paths.observed - paths.upper, paths.observed - paths.lower)
        axes.set_ylabel("difference")
    else:
        _draw_difference(axes, paths, paths.cumulative, paths.cumulative_lower, paths.cumulative_upper)
        axes.set_ylabel("sum since the launch")
    mark_launch(axes, paths.launch)
    label_periods(axes, list(paths.x))


def _draw_original(axes: Axes, paths: PathPanels) -> None:
    axes.plot(paths.x, paths.observed, color=OBSERVED, linewidth=1.6, label="observed")
    axes.plot(
        paths.x,
        paths.predicted,
        color=COUNTERFACTUAL,
        linewidth=1.4,
        linestyle="--",
        label="without the launch (predicted)",
    )
    axes.fill_between(
        paths.x, paths.lower, paths.upper, color=COUNTERFACTUAL, alpha=0.16, linewidth=0, label=paths.band
    )
    axes.set_ylabel(paths.outcome)
    legend_above(axes, ncols=3)


def _draw_difference(axes: Axes, paths: PathPanels, middle: Values, lower: Values, upper: Values) -> None:
    axes.axhline(0, color=MUTED, linewidth=0.8)
    axes.fill_between(paths.x, lower, upper, color=BAND, alpha=0.18, linewidth=0)
    axes.plot(paths.x, middle, color=OBSERVED, linewidth=1.4)
