"""Which control series does the model lean on?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from causalbench.report.canvas import INK, OBSERVED, Drawing, canvas, find_estimate, short, to_svg
from causalbench.wording import counted, number

PLACE = 62

_SHOWN = 12
_VISIBLE = 0.01


def draw(evidence: Mapping[str, Any], metric: str) -> Drawing | None:
    """Draw the largest inclusion probabilities as bars; None for a method that selects no controls."""
    detail = find_estimate(evidence, metric)["detail"]
    probabilities = detail.get("inclusion_probability")
    if not probabilities:
        return None
    ranked = sorted(probabilities.items(), key=lambda item: (-item[1], item[0]))
    shown = [(unit, share) for unit, share in ranked[:_SHOWN] if share >= _VISIBLE] or ranked[:1]
    with canvas(height=0.9 + 0.24 * len(shown)) as (figure, (axes,)):
        places = range(len(shown))
        bars = axes.barh(places, [100 * share for _, share in shown[::-1]], color=OBSERVED, height=0.66)
        axes.set_yticks(places, [short(unit) for unit, _ in shown[::-1]], color=INK)
        labels = [
            f"{100 * share:.0f}%, {number(detail['coefficients'][unit], digits=2, sign=True)}" for unit, share in shown
        ]
        axes.bar_label(bars, labels[::-1], padding=3, color=INK)
        axes.set_xlim(0, 125)
        axes.set_xticks(range(0, 101, 20))
        axes.set_xlabel("posterior probability of being in the model (%), and mean coefficient")
        axes.set_title("Which controls predict the treated units", pad=8)
        axes.grid(visible=False, axis="y")
        svg = to_svg(figure)
    rest = len(probabilities) - len(shown)
    top = ", ".join(f"{unit} {100 * share:.0f}%" for unit, share in ranked[:3])
    return Drawing(
        name="control_selection",
        svg=svg,
        alt=f"Bar chart of the probability that a control is in the model. Of {len(probabilities)} controls the likeliest "
        f"are {top}.",
        caption="How probable it is, given the history, that a control helps to predict the treated units' mean; beside it the "
        "average coefficient, in units of the outcome per unit of the control's, zero where it is left out. Controls that move "
        "alike share the probability." + (f" {counted(rest, 'other')} less probable: not drawn." if rest else ""),
    )
