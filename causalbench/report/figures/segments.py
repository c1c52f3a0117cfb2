"""Do groups of units react in opposite ways?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from causalbench.report.canvas import INK, MUTED, OBSERVED, Drawing, canvas, find_check, find_estimate, short, to_svg
from causalbench.wording import number

PLACE = 64

_CHECKS = ("segments", "segment-effects")
_SHOWN = 24
_INTERVALS = {
    True: "Intervals are corrected for the number of groups: at this level all of them hold.",
    False: "Intervals are those of each group alone, not corrected for the number of groups.",
}


def draw(evidence: Mapping[str, Any], metric: str) -> Drawing | None:
    """Draw the effect in every group with its interval; None where there are no groups."""
    checks = [find_check(evidence, metric, name) for name in _CHECKS]
    check = next((found for found in checks if found is not None and found["table"]), None)
    if check is None:
        return None
    table, value = check["table"], find_estimate(evidence, metric)["value"]
    rows = table["segments"][:_SHOWN][::-1]
    level = f"{100 * table['level']:g}%"
    together = "interval_level" in table  # else each group's interval is of that level by itself
    with canvas(height=1.2 + 0.24 * len(rows)) as (figure, (axes,)):
        axes.axvline(0, color=MUTED, linewidth=0.8)
        axes.axvline(value, color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
        for place, row in enumerate(rows):
            ends = [value if row[end] is None else row[end] for end in ("lower", "upper")]
            axes.plot(ends, [place, place], color=OBSERVED, linewidth=1.6)
            axes.plot([row["effect"]], [place], color=OBSERVED, marker="o", markersize=5)
        names = [f"{short(row['column'])} = {short(row['segment'])}" for row in rows]
        axes.set_yticks(range(len(rows)), names, color=INK)
        axes.set_ylim(-0.7, len(rows) - 0.3)
        axes.set_xlabel(f"effect, interval at {level}, dashed: of all units together")
        axes.set_title("The effect group by group", pad=8)
        axes.grid(visible=False, axis="y")
        svg = to_svg(figure)
    effects = "; ".join(
        f"{row['column']} = {row['segment']}: {number(row['effect'])} ({number(row['lower'])} to {number(row['upper'])})"
        for row in rows[::-1]
    )
    return Drawing(
        name="segments",
        svg=svg,
        alt=f"Effects by group. {effects}.",
        caption=f"{check['reason']} {_INTERVALS[together]}",
    )
