"""What figures of a geo test share: finding a metric's results, and where the test and its cooldown lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from causalbench.report.canvas import FAINT, MUTED, mark_launch

_ROOM = 0.08


def result_of(evidence: Mapping[str, Any], metric: str) -> Mapping[str, Any] | None:
    """Return the results of a metric; None where the test has none, as of a switchback."""
    return next((result for result in evidence["results"] if result["metric"] == metric), None)


def said(result: Mapping[str, Any], cell: Mapping[str, Any]) -> dict[str, Any]:
    """Return a cell's own effect under the names that words are made from; see :mod:`causalbench.wording`."""
    return {
        **cell["effect"],
        "std_error": cell["std_error"],
        "path_bands": None,
        "units": result["units"],
    }


def decisive(cell: Mapping[str, Any]) -> tuple[float | None, Mapping[str, Any] | None]:
    """Return p-value and set that decide: those for all cells at once where there are several."""
    effect = cell["effect"]
    if effect["adjustment"] == "none":
        return effect["p_value"], effect["interval"]
    return effect["adjusted_p"], effect["simultaneous"]


def mark_test(axes: Axes, x: Sequence[Any], trial: Mapping[str, Any], *, named: bool = False) -> None:
    """Draw the test's start as a line, and its end and cooldown, where there is one, as a shaded stretch."""
    mark_launch(axes, x[trial["n_pre"]])
    if trial["n_cooldown"]:
        end = trial["n_pre"] + trial["n_test"]
        axes.axvline(x[end], color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)))
        axes.axvspan(x[end], x[-1], color=FAINT, alpha=0.25, linewidth=0, label="cooldown" if named else None)


def frame(values: Sequence[float | None]) -> tuple[float, float]:
    """Return the ends of an axis that shows these values and zero, with some room; what is infinite is left out."""
    shown = [0.0, *(value for value in values if value is not None)]
    room = _ROOM * (max(shown) - min(shown)) or 1.0
    return min(shown) - room, max(shown) + room


def ends_of(interval: Mapping[str, Any] | None) -> list[float]:
    """Return the finite ends of an interval's segments."""
    return [end for segment in (interval["segments"] if interval else ()) for end in segment if end is not None]


def draw_set(
    axes: Axes,
    place: float,
    interval: Mapping[str, Any] | None,
    limits: tuple[float, float],
    *,
    colour: str,
    width: float,
) -> None:
    """Draw the segments of a set as lines; an open end gets an arrow at the frame."""
    low, high = limits
    for lower, upper in interval["segments"] if interval else ():
        ends = (low if lower is None else lower, high if upper is None else upper)
        axes.hlines(place, *ends, color=colour, linewidth=width)
        for end, at, marker in ((lower, ends[0], "<"), (upper, ends[1], ">")):
            if end is None:
                axes.plot([at], [place], color=colour, marker=marker, clip_on=False)
