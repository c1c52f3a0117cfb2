"""What GeoLift's own test says beside one whose p-value and set agree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from causalbench.report.canvas import COUNTERFACTUAL, FAINT, MUTED, OBSERVED, Drawing, canvas, legend_above, to_svg
from causalbench.wording import number

PLACE = 70

NAMES = {
    ("absolute", "iid"): "absolute residuals, periods in random order (GeoLift)",
    ("absolute", "blocks"): "absolute residuals, time shifted as a circle",
    ("signed", "blocks"): "signed sum, time shifted as a circle",
}
_LINES: Mapping[tuple[str, str], tuple[str, Any]] = {
    ("absolute", "iid"): (COUNTERFACTUAL, "-"),
    ("absolute", "blocks"): (FAINT, "-"),
    ("signed", "blocks"): (OBSERVED, "-"),
}


def draw(evidence: Mapping[str, Any], metric: str) -> list[Drawing]:
    """Draw p against the tested effect for three tests of the same residuals; nothing without ``compat = "geolift"``."""
    found = evidence["showcase"]
    if found is None or evidence["headline"]["metric"] != metric:
        return []
    limit = 1 - found["level"]
    with canvas(height=3.6, rows=1) as (figure, (axes,)):
        for scheme in found["schemes"]:
            key = (scheme["statistic"], scheme["permutation"])
            colour, style = _LINES[key]
            axes.plot(
                found["effects"], scheme["p_values"], color=colour, linestyle=style, linewidth=1.5, label=NAMES[key]
            )
        axes.axhline(limit, color=MUTED, linewidth=1.1, linestyle="--", label=f"{limit:.3g}: rejected up to here")
        axes.axvline(0, color=MUTED, linewidth=0.8)
        axes.set_xlim(found["effects"][0], found["effects"][-1])
        axes.set_ylim(0, 1.05)
        axes.set_xlabel("tested effect, per market and period")
        axes.set_ylabel("p-value")
        axes.set_title("Three tests of the same residuals", pad=38)
        legend_above(axes, ncols=2)
        svg = to_svg(figure)
    told = "; ".join(
        f"{NAMES[(s['statistic'], s['permutation'])]}: p {number(s['p_value'])} of none, largest {number(s['largest_p'])}"
        for s in found["schemes"]
    )
    return [
        Drawing(
            name="showcase",
            svg=svg,
            alt=f"p-values of every tested effect by three tests. {told}.",
            caption="A set holds the effects whose curve lies above the dashed line. Where a curve stays below it everywhere, "
            "the set is empty: the test rejects no effect and every other effect alike.",
        )
    ]
