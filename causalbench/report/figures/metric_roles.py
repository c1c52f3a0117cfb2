"""What happened to every metric, and does each guardrail hold its margin?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from causalbench.report.canvas import COUNTERFACTUAL, INK, MUTED, OBSERVED, Drawing, canvas, short, to_svg
from causalbench.report.decision_words import effect_set, verdict
from causalbench.wording import percent

PLACE = 4

_ROOM = 0.15
_COLOURS = {"pass": OBSERVED, "better": OBSERVED, "fail": COUNTERFACTUAL, "worse": COUNTERFACTUAL}


def draw(evidence: Mapping[str, Any], metric: str) -> Drawing | None:
    """Draw relative effects of all metrics with their sets and margins; None where one metric says it all."""
    rows = _rows(evidence, metric)
    if len(rows) < 2:
        return None
    low, high = _frame(rows)
    grade = evidence["grade"]["grade"]
    level = f"{100 * rows[0]['effect']['level']:g}%"
    with canvas(height=1.3 + 0.42 * len(rows)) as (figure, (axes,)):
        axes.axvline(0, color=MUTED, linewidth=0.8)
        for place, row in enumerate(reversed(rows)):
            _draw_row(axes, place, row, low, high, colour=_COLOURS.get(verdict(row, grade), MUTED))
        axes.set_xlim(low, high)
        axes.set_ylim(-0.7, len(rows) - 0.3)
        axes.set_yticks(
            range(len(rows)), [f"{short(row['metric'])}\n{_role(row, grade)}" for row in reversed(rows)], color=INK
        )
        axes.xaxis.set_major_formatter(lambda value, _: percent(value, sign=True))
        axes.set_xlabel(f"effect as a share of the outcome without the launch, with its {level} set")
        axes.set_title("Every metric, and the margins of guardrails", pad=8)
        axes.grid(visible=False, axis="y")
        svg = to_svg(figure)
    told = "; ".join(f"{row['metric']} {_role(row, grade)}, {effect_set(row['effect'])}" for row in rows)
    return Drawing(
        name="metric_roles",
        svg=svg,
        alt=f"Effects on {len(rows)} metrics with their {level} sets. {told}.",
        caption="Shaded: harm beyond a guardrail's margin. A guardrail passes when its whole set lies outside the shade, and "
        "fails when all of it lies inside. An arrow: the set goes on beyond the picture.",
    )


def _rows(evidence: Mapping[str, Any], metric: str) -> list[Mapping[str, Any]]:
    """Return verdicts with a relative set, for the page of the headline's metric."""
    decision = evidence.get("decision") or {}
    if not decision or evidence["headline"]["metric"] != metric:
        return []
    found = [*decision.get("verdicts", ()), *decision.get("guardrails", ())]
    return [row for row in found if row["effect"]["known"] and row["effect"]["scale"] == "relative"]


def _role(row: Mapping[str, Any], grade: str) -> str:
    """Write the verdict, no stronger than the grade allows, and the margin that it is about."""
    margin, told = row.get("margin"), verdict(row, grade)
    return told if margin is None else f"margin {percent(margin, sign=True)}: {told}"


def _frame(rows: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Return the range of guardrails with their margins, as success may be out of all proportion; of all rows without any."""
    guarded = [row for row in rows if row.get("margin") is not None] or list(rows)
    ends = [row["effect"][end] for row in guarded for end in ("lower", "value", "upper")]
    ends += [row["margin"] for row in guarded if row.get("margin") is not None]
    known = [end for end in ends if end is not None] + [0.0]
    size = max(max(known) - min(known), 1e-6)
    return min(known) - _ROOM * size, max(known) + _ROOM * size


def _draw_row(axes: Axes, place: int, row: Mapping[str, Any], low: float, high: float, *, colour: str) -> None:
    effect, margin = row["effect"], row.get("margin")
    if margin is not None:
        start, end = (low, margin) if margin < 0 else (margin, high)
        axes.add_patch(
            Rectangle((start, place - 0.32), end - start, 0.64, facecolor=COUNTERFACTUAL, alpha=0.12, linewidth=0)
        )
        axes.plot([margin, margin], [place - 0.32, place + 0.32], color=COUNTERFACTUAL, linewidth=1.2)
    ends = [limit if effect[end] is None else effect[end] for end, limit in (("lower", -inf), ("upper", inf))]
    axes.plot([min(max(end, low), high) for end in ends], [place, place], color=colour, linewidth=2)
    for beyond, at, marker in ((ends[0] < low, low, "<"), (ends[1] > high, high, ">")):
        if beyond:
            axes.plot([at], [place], color=colour, marker=marker, markersize=6, clip_on=False)
    axes.annotate(
        percent(effect["value"], sign=True),
        (1, place),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        xytext=(6, 0),
        va="center",
        color=colour,
        annotation_clip=False,
    )
    if effect["value"] is not None and low <= effect["value"] <= high:
        axes.plot([effect["value"]], [place], color=colour, marker="o", markersize=5)
