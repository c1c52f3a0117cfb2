"""Does the effect last, and what stays of it?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from causalbench.report.canvas import COUNTERFACTUAL, MUTED, OBSERVED, Drawing, canvas, legend_above, to_svg
from causalbench.wording import percent

PLACE = 16


def draw(evidence: Mapping[str, Any], metric: str) -> Drawing | None:
    """Draw the effect since the launch with the fitted curve; None where no effect, or no change of it, is shown."""
    decision = evidence.get("decision") or {}
    found = decision.get("dynamics")
    if not found or evidence["headline"]["metric"] != metric or found["verdict"] not in ("fades", "grows"):
        return None
    if evidence["headline"]["verdict"] not in ("shown", "suggested"):
        return None
    times, effects, errors = (np.array(found[key], dtype=float) for key in ("times", "effects", "std_errors"))
    stays = found["steady_state"]
    with canvas(height=3.2) as (figure, (axes,)):
        axes.axhline(0, color=MUTED, linewidth=0.8)
        axes.errorbar(
            times,
            effects,
            yerr=errors,
            fmt="o",
            markersize=3,
            color=OBSERVED,
            linewidth=0.8,
            label="effect, one standard error",
        )
        axes.plot(times, found["curve"], color=COUNTERFACTUAL, linewidth=1.6, label="fitted curve")
        if stays is not None:
            axes.axhline(stays["value"], color=COUNTERFACTUAL, linewidth=1, linestyle=(0, (4, 3)), label="what stays")
        if found["scale"] == "relative":
            axes.yaxis.set_major_formatter(lambda value, _: percent(value, sign=True))
        axes.set_xlabel("periods since the launch")
        axes.set_title("How the effect goes on")
        legend_above(axes, ncols=3)
        svg = to_svg(figure)
    return Drawing(name="effect_dynamics", svg=svg, alt=found["sentence"], caption=found["sentence"])
