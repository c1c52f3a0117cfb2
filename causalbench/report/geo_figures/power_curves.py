"""Which effects would the chosen design detect, and how often?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes

from causalbench.report.canvas import FAINT, INK, MUTED, Drawing, canvas, legend_above, short, to_svg
from causalbench.report.geo_colours import PERCENT, colours_of
from causalbench.wording import counted, percent

PLACE = 10


def draw(evidence: Mapping[str, Any]) -> Drawing | None:
    """Draw power against the relative effect at the chosen duration, on windows unseen and seen by the search."""
    chosen, geo = evidence["chosen"], evidence["study"]["geo"]
    claimed = [row for row in evidence["power"] if row["duration"] == chosen["duration"] and row["effects"]]
    if not claimed:
        return None
    own = len(evidence["candidates"]) == 1
    candidate = next(row for row in evidence["candidates"] if row["chosen"])
    seen = [row for row in candidate["power"] if row["duration"] == chosen["duration"] and row["effects"]]
    colours = colours_of(geo["cells"])
    several = len(claimed) > 1
    what = "loss" if geo["kind"] == "go-dark" else "gain"
    with canvas(height=3.6) as (figure, (axes,)):
        for row in [] if own else seen:
            name = None if several else "windows it has seen"
            _steps(axes, row, color=colours[row["cell"]], linestyle=(0, (1, 1.5)), linewidth=1.1, label=name)
        for row in claimed:
            name = None if several else "measured" if own else "windows not seen by the search"
            _steps(axes, row, color=colours[row["cell"]], linestyle="-", linewidth=0.9, label=name)
            curve = row["claimed"]
            x, y = ([100 * value for value in curve[key]] for key in ("effects", "power"))
            name = f"{short(row['cell'])}: {_reached(row)}" if several else "claimed for the test"
            axes.plot(x, y, color=colours[row["cell"]], linewidth=2.2, label=name)
            if row["mde"] is not None:
                _mark(axes, row, geo["power"], colours[row["cell"]], named=not several)
        axes.axhline(100 * geo["power"], color=MUTED, linewidth=0.9, linestyle=(0, (5, 3)))
        if geo["smallest_worthwhile_effect"] is not None:
            at = 100 * geo["smallest_worthwhile_effect"]
            axes.axvline(at, color=FAINT, linewidth=1.2)
            axes.annotate("worthwhile", (at, 3), xytext=(4, 0), textcoords="offset points", color=MUTED)
        n_rows = -(-len(axes.get_legend_handles_labels()[1]) // 3)
        axes.set_xlim(*_frame(claimed))
        axes.set_ylim(0, 104)
        axes.yaxis.set_major_formatter(PERCENT)
        axes.xaxis.set_major_formatter(PERCENT)
        axes.set_xlabel(f"{what}, relative to the outcome without it")
        axes.set_ylabel("windows in which it is detected")
        axes.set_title(
            f"What the test would detect in {counted(chosen['duration'], 'period')}", pad=22 + 14 * (n_rows - 1)
        )
        legend_above(axes, ncols=3)
        svg = to_svg(figure)
    told = "; ".join(f"{row['cell']}: {_reached(row)}" for row in claimed)
    return Drawing(
        name="power_curves",
        svg=svg,
        alt=f"Power against the relative effect over {counted(chosen['duration'], 'period')}. Smallest effect with power "
        f"{geo['power']:g}: {told}.",
        caption=f"Thick: how often a test of that length would detect such a {what}, allowing for how few windows of the "
        "history there are. Thin steps: the windows themselves, with that effect put in. "
        + (
            ""
            if own
            else "Dotted: windows that the search has seen, where the best of many designs looks better than it is. "
        )
        + f"A dot marks the smallest effect detected with power {geo['power']:g}.",
    )


def _steps(
    axes: Axes, row: Mapping[str, Any], *, color: str, linestyle: Any, linewidth: float, label: str | None
) -> None:
    end = max(row["claimed"]["effects"][-1], row["effects"][-1])
    effects = [0.0, *(100 * effect for effect in row["effects"]), 100 * end]
    power = [0.0, *(100 * share for share in row["power"]), 100 * row["power"][-1]]
    axes.step(effects, power, where="post", color=color, linestyle=linestyle, linewidth=linewidth, label=label)


def _mark(axes: Axes, row: Mapping[str, Any], target: float, colour: str, *, named: bool) -> None:
    at = 100 * row["mde"]
    axes.plot([at, at], [0, 100 * target], color=colour, linewidth=0.9, linestyle=(0, (1, 2)))
    axes.plot([at], [100 * target], marker="o", color=colour, markersize=6)
    if named:
        axes.annotate(
            percent(row["mde"]),
            (at, 100 * target),
            xytext=(7, -13),
            textcoords="offset points",
            color=INK,
            fontweight="bold",
        )


def _reached(row: Mapping[str, Any]) -> str:
    return "never reached" if row["mde"] is None else percent(row["mde"])


def _frame(rows: list[Mapping[str, Any]]) -> tuple[float, float]:
    """Return the ends of the axis: from no effect to where the claimed curves end."""
    return 0.0, 100 * max(row["claimed"]["effects"][-1] for row in rows)
