"""Do treated and control markets move together, and which part of the history was the search allowed to see?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from causalbench.report.canvas import (
    MUTED,
    Drawing,
    canvas,
    label_periods,
    legend_above,
    mark_launch,
    positions,
    short,
    to_svg,
)
from causalbench.report.geo_colours import colours_of
from causalbench.wording import number

PLACE = 35


def draw(evidence: Mapping[str, Any]) -> Drawing | None:
    """Draw the mean path of every cell and of the controls, each as percent of its own mean."""
    paths = evidence["paths"]
    x = positions(paths["periods"])
    colours = colours_of(evidence["study"]["geo"]["cells"])
    with canvas(height=3.1) as (figure, (axes,)):
        axes.plot(x, _indexed(paths["control"]), color=MUTED, linewidth=1.2, linestyle=(0, (4, 1.5)), label="controls")
        for name, values in paths["cells"].items():
            axes.plot(x, _indexed(values), color=colours[name], linewidth=1.4, label=short(name))
        start = paths["periods"].index(evidence["periods"]["unseen"]["first"])
        mark_launch(axes, x[start])
        axes.annotate(
            "not seen by the search",
            (x[start], 1),
            xycoords=("data", "axes fraction"),
            xytext=(4, -11),
            textcoords="offset points",
            color=MUTED,
        )
        label_periods(axes, x)
        axes.set_ylabel("percent of its own mean")
        axes.set_title("The history of the chosen markets")
        legend_above(axes, ncols=4)
        svg = to_svg(figure)
    told = "; ".join(
        f"{row['cell']} {number(row['correlation'], digits=3)}"
        for row in evidence["balance"]["cells"]
        if "correlation" in row
    )
    return Drawing(
        name="history",
        svg=svg,
        alt=f"Mean paths of treated and control markets before the test. Correlation with the controls: {told}.",
        caption="Plain means, each relative to its own level. Right of the line are the periods on which power is measured. "
        f"Correlation with the controls' mean: {told}.",
    )


def _indexed(values: Sequence[float]) -> list[float]:
    """Return a path as percent of its mean."""
    mean = sum(values) / len(values)
    return [100 * value / mean for value in values] if mean else list(values)
