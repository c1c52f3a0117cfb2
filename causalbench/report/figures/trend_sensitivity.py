"""How far apart may trends drift before the conclusion changes?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from causalbench.report.canvas import (
    BAND,
    COUNTERFACTUAL,
    MUTED,
    OBSERVED,
    Drawing,
    canvas,
    find_check,
    legend_above,
    short,
    to_svg,
)
from causalbench.wording import interval_text, number

PLACE = 25

_CHECK = "trend-sensitivity"


def draw(evidence: Mapping[str, Any], metric: str) -> Drawing | None:
    """Draw the robust sets over how much trends may differ; None where they weren't computed."""
    check = find_check(evidence, metric, _CHECK)
    if check is None or not check["table"]:
        return None
    table = check["table"]
    rows, level = table["relative_magnitude"], f"{100 * table['level']:g}%"
    breakdown, largest = table["breakdown_relative_magnitude"], max(row["bound"] for row in rows)
    with canvas(height=3.2) as (figure, (axes,)):
        axes.axhline(0, color=MUTED, linewidth=0.8)
        _draw_sets(axes, rows, table["effect"], f"{level} set")
        axes.plot(
            [row["bound"] for row in rows],
            [table["effect"]] * len(rows),
            color=OBSERVED,
            marker="o",
            linestyle="none",
            label=f"average effect {number(table['effect'])}",
        )
        if breakdown is not None and breakdown <= largest:
            axes.axvline(
                breakdown,
                color=COUNTERFACTUAL,
                linewidth=1.2,
                linestyle="--",
                label=f"zero joins the set at {number(breakdown)}",
            )
        axes.set_xticks([row["bound"] for row in rows], [_tick(row["bound"]) for row in rows])
        axes.set_xlim(-0.15 * largest, 1.1 * largest)
        axes.set_xlabel("largest step between two periods after the launch, in multiples of the largest one before it")
        axes.set_ylabel(f"effect, {short(metric)}")
        axes.set_title("If trends weren't parallel: what would still be shown")
        legend_above(axes, ncols=3)
        svg = to_svg(figure)
    sets = "; ".join(f"{_tick(row['bound'])}: {interval_text(row)}" for row in rows)
    return Drawing(
        name="trend_sensitivity",
        svg=svg,
        alt=f"{level} sets of the average effect on {metric} if trends differ after the launch by at most a multiple of the "
        f"largest step before it. {sets}.",
        caption="Each bar holds every effect compatible with the data if, from one period to the next, the groups drift apart "
        "by at most that multiple of the largest step seen before the launch. If zero joins only beyond 1, the conclusion "
        "survives drifts as large as any in the history.",
    )


def _draw_sets(axes: Axes, rows: Sequence[Mapping[str, Any]], effect: float, label: str) -> None:
    """Draw the sets as bars over their bounds; an open end reaches the frame."""
    segments = [(row["bound"], *segment) for row in rows for segment in row["segments"]]
    ends = [end for _, *segment in segments for end in segment if end is not None] + [0.0, effect]
    room = 0.1 * (max(ends) - min(ends)) or 1.0
    bottom, top = min(ends) - room, max(ends) + room
    axes.set_ylim(bottom, top)
    bars = [(bound, bottom if low is None else low, top if high is None else high) for bound, low, high in segments]
    if bars:
        axes.vlines(*zip(*bars, strict=True), color=BAND, alpha=0.45, linewidth=8, label=label)


def _tick(bound: float) -> str:
    return "parallel" if bound == 0 else f"{bound:g}"
