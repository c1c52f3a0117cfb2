"""What is the launch worth, and how sure is that?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from causalbench.report.canvas import BAND, COUNTERFACTUAL, MUTED, OBSERVED, Drawing, canvas, short, to_svg
from causalbench.wording import number, percent

PLACE = 6


def draw(evidence: Mapping[str, Any], metric: str) -> Drawing | None:
    """Draw the probability that the net value exceeds each amount; None without a value, and at grade D, which claims none."""
    found = (evidence.get("decision") or {}).get("value")
    if not found or evidence["headline"]["metric"] != metric or evidence["grade"]["grade"] == "D":
        return None
    values, shares = np.array(found["exceeded"], dtype=float).T
    if values[0] < 0 < values[-1]:  # the shade begins at zero
        place = int(np.searchsorted(values, 0.0))
        values, shares = np.insert(values, place, 0.0), np.insert(shares, place, found["probability"])
    with canvas(height=3.0) as (figure, (axes,)):
        axes.fill_between(values, shares, where=list(values >= 0), color=BAND, alpha=0.18, linewidth=0)
        axes.plot(values, shares, color=OBSERVED, linewidth=1.8)
        axes.axvline(0, color=MUTED, linewidth=0.8)
        axes.axhline(found["ship_if"], color=COUNTERFACTUAL, linewidth=1, linestyle=(0, (4, 3)))
        axes.annotate(
            f"asked for: {percent(found['ship_if'])}",
            (1, found["ship_if"]),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            xytext=(-4, 4),
            ha="right",
            color=COUNTERFACTUAL,
        )
        axes.plot([0], [found["probability"]], color=OBSERVED, marker="o", markersize=6)
        axes.set_ylim(0, 1.02)
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}%")
        axes.xaxis.set_major_formatter(lambda value, _: number(value, digits=3))
        axes.set_xlabel(f"net value over the horizon, {short(found['currency'])}")
        axes.set_ylabel("probability of more")
        axes.set_title("What the launch is worth", pad=8)
        svg = to_svg(figure)
    caption = (
        f"Where the curve crosses zero is the probability of a positive net value, {percent(found['probability'])}"
    )
    caption += f" ({found['prior']})."
    if found["by_prior"]:
        other = percent(found["probability_without_prior"])
        caption += f" Were every effect equally likely beforehand, it would be {other}."
    return Drawing(name="net_value", svg=svg, alt=found["sentence"], caption=caption)
