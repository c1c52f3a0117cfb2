"""What was tried to bring the result down, and did it hold?"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from causalbench.report.canvas import COUNTERFACTUAL, GRID, INK, MUTED, OBSERVED, Drawing, canvas, find_check, to_svg

PLACE = 60

_CHECKS = (
    "overlap",
    "covariate-balance",
    "negative-control-outcome",
    "placebo-treatment",
    "random-common-cause",
    "data-subset",
    "robustness",
    "e-value",
    "rosenbaum-bounds",
    "marginal-sensitivity",
    "segments",
)
_DECISIVE = ("overlap", "negative-control-outcome", "placebo-treatment")
_MARKS = {
    "pass": ("o", OBSERVED, "pass"),
    "review": ("^", COUNTERFACTUAL, "review"),
    "fail": ("X", COUNTERFACTUAL, "fail"),
    "not_evaluable": ("_", MUTED, "not evaluable"),
}
_WIDTH = 132


def draw(evidence: Mapping[str, Any], metric: str) -> Drawing | None:
    """Draw the verdicts of all attempts to refute a comparison on one card; None for designs with periods."""
    found = [check for name in _CHECKS if (check := find_check(evidence, metric, name)) is not None]
    if not any(check["name"] in _DECISIVE for check in found):
        return None
    texts = [textwrap.wrap(check["reason"], _WIDTH, max_lines=3, placeholder=" …") for check in found]
    heights = [1.25 + 0.95 * len(lines) for lines in texts]
    with canvas(height=0.55 + 0.165 * sum(heights)) as (figure, (axes,)):
        axes.set_axis_off()
        axes.set_xlim(0, 100)
        axes.set_ylim(sum(heights), 0)
        top = 0.0
        for check, lines, height in zip(found, texts, heights, strict=True):
            marker, colour, word = _MARKS[check["verdict"]]
            axes.plot([1.2], [top + 0.95], marker=marker, color=colour, markersize=7, linestyle="none", clip_on=False)
            axes.text(3.2, top + 0.95, check["question"], color=INK, fontsize=9, va="center", fontweight="bold")
            axes.text(100, top + 0.95, word, color=colour, fontsize=9, va="center", ha="right", fontweight="bold")
            for k, line in enumerate(lines):
                axes.text(3.2, top + 1.95 + 0.95 * k, line, color=MUTED, fontsize=7.5, va="center")
            top += height
            axes.axhline(top - 0.12, color=GRID, linewidth=0.7)
        axes.set_title("What was tried to bring the result down", pad=8)
        svg = to_svg(figure)
    verdicts = "; ".join(f"{check['question']} {_MARKS[check['verdict']][2]}" for check in found)
    return Drawing(
        name="refutation_card",
        svg=svg,
        alt=f"Verdicts of {len(found)} attempts to refute the result. {verdicts}.",
        caption="Nothing here proves a result: it can only survive. No headline is given where overlap or the outcome before the "
        "treatment fails.",
    )
