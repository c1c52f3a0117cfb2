"""What does a longer test buy, and what does waiting cost?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from causalbench.report.canvas import COUNTERFACTUAL, INK, MUTED, OBSERVED, Drawing, canvas, legend_above, to_svg
from causalbench.report.geo_colours import PERCENT
from causalbench.wording import number, percent

PLACE = 30


def draw(evidence: Mapping[str, Any]) -> Drawing | None:
    """Draw smallest detectable effect and costs against the duration; None for one duration without any cost."""
    rows = evidence["durations"]
    known = [row for row in rows if row["mde"] is not None]
    costs = [key for key in ("investment", "cost_of_delay") if any(row[key] is not None for row in known)]
    if not known or (len(rows) < 2 and not costs):
        return None
    both = bool(costs)
    ratios = (1.25, 1) if both else (1,)
    with canvas(height=4.6 if both else 2.9, rows=2 if both else 1, ratios=ratios) as (figure, panels):
        _effects(panels[0], known, evidence)
        if both:
            _costs(panels[1], known, costs, evidence)
        panels[-1].set_xticks([row["duration"] for row in rows])
        panels[-1].set_xlabel("duration of the test, periods")
        lengths = [row["duration"] for row in rows]
        room = 0.12 * (max(lengths) - min(lengths)) or 1.0
        panels[-1].set_xlim(min(lengths) - room, max(lengths) + 2.2 * room)
        svg = to_svg(figure)
    told = "; ".join(f"{row['duration']} periods {percent(row['mde'])}" for row in known)
    return Drawing(
        name="durations",
        svg=svg,
        alt=f"Smallest detectable effect of the chosen markets by duration: {told}.",
        caption="For the chosen markets, on windows that the search hasn't seen: the smallest effect detected with the wanted "
        "power in the worst cell"
        + (", and below it what an effect of that size costs in all cells" if "investment" in costs else "")
        + (", and what waiting for the answer costs" if "cost_of_delay" in costs else "")
        + ". The large dot is the duration that the rule takes.",
    )


def _effects(axes: Axes, rows: Sequence[Mapping[str, Any]], evidence: Mapping[str, Any]) -> None:
    x, y = [row["duration"] for row in rows], [100 * row["mde"] for row in rows]
    axes.plot(x, y, color=OBSERVED, marker="o", markersize=5)
    for row, at, value in zip(rows, x, y, strict=True):
        taken = row["duration"] == evidence["chosen"]["duration"]
        if taken:
            axes.plot([at], [value], marker="o", markersize=10, color=OBSERVED)
        axes.annotate(
            percent(row["mde"]),
            (at, value),
            xytext=(9, 4),
            textcoords="offset points",
            color=INK if taken else MUTED,
            fontweight="bold" if taken else "normal",
        )
    worthwhile = evidence["study"]["geo"]["smallest_worthwhile_effect"]
    if worthwhile is not None:
        axes.axhline(
            100 * worthwhile, color=MUTED, linewidth=0.9, linestyle=(0, (5, 3)), label="smallest worthwhile effect"
        )
    axes.set_ylim(0, 1.25 * max([*y, 100 * (worthwhile or 0)]))
    axes.yaxis.set_major_formatter(PERCENT)
    axes.set_ylabel("detectable effect")
    axes.set_title("Duration against what it can detect")
    legend_above(axes, ncols=2)


def _costs(axes: Axes, rows: Sequence[Mapping[str, Any]], costs: Sequence[str], evidence: Mapping[str, Any]) -> None:
    styles = {
        "investment": ("cost of an effect of that size", OBSERVED, "o", "-"),
        "cost_of_delay": ("cost of waiting", COUNTERFACTUAL, "s", (0, (5, 2))),
    }
    for key in costs:
        name, colour, marker, dash = styles[key]
        shown = [row for row in rows if row[key] is not None]
        axes.plot(
            [row["duration"] for row in shown],
            [row[key] for row in shown],
            color=colour,
            marker=marker,
            markersize=5,
            linestyle=dash,
            label=name,
        )
    budget = evidence["study"]["geo"]["budget"]
    if isinstance(budget, (int, float)) and len(evidence["chosen"]["cells"]) == 1:
        axes.axhline(budget, color=MUTED, linewidth=0.9, linestyle=(0, (5, 3)), label="budget")
    axes.set_ylim(bottom=0)
    axes.margins(y=0.2)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value, digits=3)))
    axes.set_ylabel("cost")
    legend_above(axes, ncols=3)
