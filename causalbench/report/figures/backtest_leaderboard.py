"""How wrong was each method where nothing was launched?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from causalbench.report.canvas import INK, MUTED, OBSERVED, Drawing, canvas, find_estimate, to_svg
from causalbench.wording import counted, number, percent

PLACE = 78


def draw(evidence: Mapping[str, Any], metric: str) -> Drawing | None:
    """Draw each method's typical error in rehearsals before the launch; None where there were none."""
    found = _of_metric(evidence, metric)
    rows = [row for row in found.get("table") or () if row["rmse"] is not None]
    if not rows:
        return None
    main, level = found.get("main"), found["level"]
    estimate = find_estimate(evidence, metric)
    with canvas(height=1.4 + 0.42 * len(rows)) as (figure, (axes,)):
        for place, row in enumerate(reversed(rows)):
            colour = OBSERVED if row["method"] == main else MUTED
            error = row["rmse_mc_error"] or 0.0
            axes.hlines(place, max(row["rmse"] - error, 0.0), row["rmse"] + error, color=colour, linewidth=2)
            axes.plot([row["rmse"]], [place], color=colour, marker="o", markersize=7 if row["method"] == main else 5)
            if row["half_width"] is not None:
                axes.plot([row["half_width"]], [place], color=colour, marker="|", markersize=11)
        axes.axvline(abs(estimate["value"]), color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
        axes.set_xlim(left=0)
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.set_yticks(range(len(rows)), [_name(row, level) for row in reversed(rows)], color=INK)
        axes.set_xlabel(f"error where nothing was launched, {estimate['estimand']['units']}")
        axes.set_title("How wrong each method was before the launch", pad=8)
        axes.grid(visible=False, axis="y")
        svg = to_svg(figure)
    return Drawing(
        name="backtest_leaderboard",
        svg=svg,
        alt=f"Typical errors of {counted(len(rows), 'method')} in rehearsals before the launch: {'; '.join(map(_told, rows))}.",
        caption=_caption(found, level),
    )


def _of_metric(evidence: Mapping[str, Any], metric: str) -> Mapping[str, Any]:
    """Return what was found on a metric, where each has its own; else the one that there is."""
    found = evidence.get("backtest") or {}
    if found.get("metric", metric) != metric:
        return {}
    own: Mapping[str, Any] = found.get(metric) or found
    return own if "table" in own else {}


def _name(row: Mapping[str, Any], level: float) -> str:
    if row["coverage"] is None:
        return str(row["method"])
    return f"{row['method']}\nits {100 * level:g}% interval was right in {100 * row['coverage']:.0f}%"


def _told(row: Mapping[str, Any]) -> str:
    covered = "" if row["coverage"] is None else f", own interval right in {percent(row['coverage'])}"
    return f"{row['method']} {number(row['rmse'])} (Monte Carlo error {number(row['rmse_mc_error'])}){covered}"


def _caption(found: Mapping[str, Any], level: float) -> str:
    """Say what the marks are and how many rehearsals stand behind them."""
    draws = f"{counted(found['n_placebos'], 'rehearsal')} in "
    draws += f"{counted(found['n_windows'], 'window')} of {counted(found['duration'], 'period')}"
    shorter = (
        ""
        if found["duration"] == found["asked_duration"]
        else f", shorter than the {found['asked_duration']} since the launch"
    )
    several = "the treated units, and random sets of as many," if found["n_treated"] > 1 else "each unit in turn"
    return (
        f"Each method was fitted to {draws} before the launch{shorter}, with {several} taking the role of the treated: there "
        "the right answer is no effect. Point: root mean squared error, with its Monte Carlo error as a line. Upright "
        f"mark: half the width that an interval needs to hold the truth in {100 * level:g}% of them. Dashed: the size of "
        "the estimate of this report."
    )
