"""Are treated and control markets alike before the test?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from causalbench.report.canvas import INK, MUTED, Drawing, canvas, legend_above, short, to_svg
from causalbench.report.geo_colours import colours_of
from causalbench.wording import number

PLACE = 40

_LARGE = 0.25
_MARKERS = "osD^vP"


def draw(evidence: Mapping[str, Any]) -> Drawing | None:
    """Draw standardised differences of every cell from the controls."""
    rows = [row for row in evidence["balance"]["cells"] if row.get("differences")]
    if not rows:
        return None
    features = list(rows[0]["differences"])
    colours = colours_of(evidence["study"]["geo"]["cells"])
    values = [abs(value) for row in rows for value in row["differences"].values()]
    with canvas(height=1.35 + 0.36 * len(features)) as (figure, (axes,)):
        axes.axvspan(-_LARGE, _LARGE, color=MUTED, alpha=0.12, linewidth=0)
        axes.axvline(0, color=MUTED, linewidth=0.8)
        for place, row in enumerate(rows):
            offset = 0.16 * (place - (len(rows) - 1) / 2)
            points = [row["differences"][feature] for feature in features]
            axes.plot(
                points,
                [i + offset for i in range(len(features))],
                linestyle="",
                marker=_MARKERS[place % len(_MARKERS)],
                color=colours[row["cell"]],
                label=short(row["cell"]),
            )
        axes.set_yticks(range(len(features)), [feature.replace("_", " ") for feature in features], color=INK)
        axes.set_ylim(len(features) - 0.5, -0.5)
        far = 1.15 * max([*values, 2 * _LARGE])
        axes.set_xlim(-far, far)
        axes.set_xlabel("difference from the controls, in standard deviations of the markets")
        axes.set_title("Balance before the test")
        axes.grid(visible=False, axis="y")
        legend_above(axes, ncols=3)
        svg = to_svg(figure)
    told = "; ".join(
        f"{row['cell']}: "
        + ", ".join(f"{name} {number(value, digits=2)}" for name, value in row["differences"].items())
        for row in rows
    )
    return Drawing(
        name="balance",
        svg=svg,
        alt=f"Standardised differences between treated and control markets: {told}.",
        caption="How far the mean treated market lies from the mean control, by level, trend and volatility of its outcome. "
        "Outside of the band the difference is usually called large. A synthetic control weights its controls, so it "
        "bears differences that a comparison of means would not.",
    )
