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
_QUESTION_WIDTH, _REASON_WIDTH = 74, 101
_LEFT = 18.0


def draw(evidence: Mapping[str, Any], metric: str) -> Drawing | None:
    """Draw the verdicts of all attempts to refute a comparison on one card; None for designs with periods."""
    found = [check for name in _CHECKS if (check := find_check(evidence, metric, name)) is not None]
    if not any(check["name"] in _DECISIVE for check in found):
        return None
    questions = [textwrap.wrap(check["question"], _QUESTION_WIDTH) for check in found]
    reasons = [textwrap.wrap(check["reason"], _REASON_WIDTH, max_lines=4, placeholder=" …") for check in found]
    heights = [1.0 + 1.05 * len(bold) + 0.95 * len(plain) for bold, plain in zip(questions, reasons, strict=True)]
    with canvas(height=0.55 + 0.165 * sum(heights)) as (figure, (axes,)):
        axes.set_axis_off()
        axes.set_xlim(0, 100)
        axes.set_ylim(sum(heights), 0)
        top = 0.0
        for check, bold, plain, height in zip(found, questions, reasons, heights, strict=True):
            marker, colour, word = _MARKS[check["verdict"]]
            line = top + 0.95
            axes.plot([1.2], [line], marker=marker, color=colour, markersize=7, linestyle="none", clip_on=False)
            axes.text(3.2, line, word, color=colour, fontsize=9, va="center", fontweight="bold")
            for text in bold:
                axes.text(_LEFT, line, text, color=INK, fontsize=9, va="center", fontweight="bold")
                line += 1.05
            for text in plain:
                axes.text(_LEFT, line, text, color=MUTED, fontsize=7.5, va="center")
                line += 0.95
            top += height
            axes.axhline(top, color=GRID, linewidth=0.7)
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
