"""Which comparisons does the two-way regression average, and how many are with units that already have it?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from causalbench.report.canvas import (
    COUNTERFACTUAL,
    INK,
    MUTED,
    OBSERVED,
    Drawing,
    canvas,
    find_check,
    legend_above,
    short,
    to_svg,
)
from causalbench.wording import number, percent

PLACE = 40

_CHECK = "forbidden-comparisons"
_KINDS = {
    "treated-vs-never": ("treated against never treated", OBSERVED, "o", False),
    "earlier-vs-later": ("earlier against later launch", MUTED, "s", False),
    "later-vs-earlier": ("later against earlier launch", COUNTERFACTUAL, "X", True),
    "later-vs-always": ("later launch against always treated", COUNTERFACTUAL, "P", True),
}


def draw(evidence: Mapping[str, Any], metric: str) -> Drawing | None:
    """Draw every comparison's weight and estimate; None where the two-way regression wasn't taken apart."""
    check = find_check(evidence, metric, _CHECK)
    if check is None or not check["table"]:
        return None
    table = check["table"]
    found = {kind: [row for row in table["comparisons"] if row["type"] == kind] for kind in _KINDS}
    with canvas(height=3.9) as (figure, (axes,)):
        axes.axhline(0, color=MUTED, linewidth=0.8)
        for kind, rows in found.items():
            name, colour, marker, forbidden = _KINDS[kind]
            if rows:
                axes.plot(
                    [100 * row["weight"] for row in rows],
                    [row["estimate"] for row in rows],
                    color=colour,
                    marker=marker,
                    markersize=7 if forbidden else 6,
                    markeredgewidth=0.5,
                    linestyle="none",
                    label=f"{name}{' (forbidden)' if forbidden else ''}: {_share(rows)}",
                )
        two_way = table["two_way_estimate"]
        axes.axhline(two_way, color=INK, linewidth=1.2, linestyle="--", label=f"two-way estimate {number(two_way)}")
        most = 100 * max(row["weight"] for row in table["comparisons"])
        axes.set_xlim(-0.03 * most, 1.06 * most)
        axes.margins(y=0.12)
        axes.set_xlabel("weight in the two-way estimate (%)")
        axes.set_ylabel(f"estimate, {short(metric)}")
        axes.set_title("What a two-way regression would average", pad=36)
        legend_above(axes, ncols=2)
        svg = to_svg(figure)
    shares = [f"{_KINDS[kind][0]} {_share(rows)}" for kind, rows in found.items() if rows]
    return Drawing(
        name="comparison_weights",
        svg=svg,
        alt=f"Scatter of {len(table['comparisons'])} comparisons of two cohorts, weight against estimate on {metric}. "
        f"Weights: {', '.join(shares)}. Their weighted mean, the two-way estimate, is {number(two_way, sign=True)}; "
        f"{percent(table['forbidden_share'])} of the weight is on forbidden comparisons.",
        caption="A regression with unit and period effects averages these comparisons of two launch cohorts. Crosses are "
        "forbidden ones: they take units that already have it as the control, and subtract whatever effect still "
        "builds up there. The estimate of this report doesn't use them.",
    )


def _share(rows: list[Mapping[str, Any]]) -> str:
    return percent(sum(row["weight"] for row in rows))
