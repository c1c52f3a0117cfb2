"""Who stands in for the treated units?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from causalbench.report.canvas import INK, OBSERVED, Drawing, canvas, find_estimate, short, to_svg
from causalbench.wording import VISIBLE_WEIGHT

PLACE = 60

_SHOWN = 12
_TOGETHER = "They make the mean of the donors follow the treated units before the launch."
_PER_UNIT = (
    "They are the mean over the treated units of each one's own weights, which make the mean of the donors follow that unit "
    "before its launch."
)


def draw(evidence: Mapping[str, Any], metric: str) -> Drawing | None:
    """Draw the largest donor weights as bars; None for a method without weights."""
    estimate = find_estimate(evidence, metric)
    weights = estimate["weights"]
    if not weights:
        return None
    ranked = sorted(weights.items(), key=lambda item: (-abs(item[1]), item[0]))
    shown = [(short(unit), weight) for unit, weight in ranked[:_SHOWN] if abs(weight) >= VISIBLE_WEIGHT]
    rest = sum(weights.values()) - sum(weight for _, weight in shown)
    more = sum(weight != 0 for weight in weights.values()) - len(shown)
    if more and abs(rest) >= VISIBLE_WEIGHT:
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
    used = sum(abs(weight) >= VISIBLE_WEIGHT for weight in weights.values())
    having = f"{used} of {len(weights)} donors {'has' if used == 1 else 'have'} weight"
    top = ", ".join(f"{unit} {100 * weight:.1f}%" for unit, weight in ranked[:3])
    return Drawing(
        name="donor_weights",
        svg=svg,
        alt=f"Bar chart of donor weights. {having}; the largest are {top}.",
        caption=f"{having}. {_signs(weights)} {_PER_UNIT if 'by_unit' in estimate['detail'] else _TOGETHER}",
    )


def _signs(weights: Mapping[str, float]) -> str:
    negative = sum(weight <= -VISIBLE_WEIGHT for weight in weights.values())
    if not negative:
        return "The weights are not negative and sum to 100%."
    return (
        f"{negative} of the weights {'is' if negative == 1 else 'are'} negative: the estimated path reaches beyond what "
        "donors did, by subtracting some of them."
    )
