"""Who stands in for the treated units?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from causalbench.report.canvas import INK, OBSERVED, Drawing, canvas, find_estimate, short, to_svg

PLACE = 60

_SHOWN = 12
_VISIBLE = 5e-4


def draw(evidence: Mapping[str, Any], metric: str) -> Drawing | None:
    """Draw the largest donor weights as bars; None for a method without weights."""
    weights = find_estimate(evidence, metric)["weights"]
    if not weights:
        return None
    ranked = sorted(weights.items(), key=lambda item: (-abs(item[1]), item[0]))
    shown = [(short(unit), weight) for unit, weight in ranked[:_SHOWN] if abs(weight) >= _VISIBLE]
    rest = sum(weights.values()) - sum(weight for _, weight in shown)
    more = sum(weight != 0 for weight in weights.values()) - len(shown)
    if more and abs(rest) >= _VISIBLE:
        shown.append(("1 other" if more == 1 else f"{more} others", rest))
    names, values = [unit for unit, _ in shown][::-1], [weight for _, weight in shown][::-1]
    with canvas(height=0.9 + 0.24 * len(shown)) as (figure, (axes,)):
        places = range(len(names))
        bars = axes.barh(places, [100 * value for value in values], color=OBSERVED, height=0.66)
        axes.set_yticks(places, names, color=INK)
        axes.bar_label(bars, [f"{100 * value:.1f}%" for value in values], padding=3, color=INK)
        axes.set_xlabel("weight in the counterfactual (%)")
        axes.set_title("Who stands in for the treated units", pad=8)
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.12)
        svg = to_svg(figure)
    used = sum(abs(weight) >= _VISIBLE for weight in weights.values())
    top = ", ".join(f"{unit} {100 * weight:.1f}%" for unit, weight in ranked[:3])
    return Drawing(
        name="donor_weights",
        svg=svg,
        alt=f"Bar chart of donor weights. {used} of {len(weights)} donors have weight; the largest are {top}.",
        caption=f"{used} of {len(weights)} donors have weight. {_signs(weights)} They make the mean of the donors follow the "
        "treated units before the launch.",
    )


def _signs(weights: Mapping[str, float]) -> str:
    negative = sum(weight <= -_VISIBLE for weight in weights.values())
    if not negative:
        return "The weights are not negative and sum to 100%."
    return (
        f"{negative} of the weights {'is' if negative == 1 else 'are'} negative: the estimated path reaches beyond what "
        "donors did, by subtracting some of them."
    )
