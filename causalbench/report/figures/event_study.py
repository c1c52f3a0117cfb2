"""How did the effect build up after the launch, and was there one before it, where there can't be?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from causalbench.report.canvas import (
    MUTED,
    OBSERVED,
    Drawing,
    canvas,
    find_estimate,
    legend_above,
    mark_launch,
    short,
    to_svg,
)
from causalbench.report.rollout import FEWEST_UNITS
from causalbench.wording import number

PLACE = 20

_LEAD, _LAG = MUTED, OBSERVED
_WIDEST_BAR, _BARS_IN_FRAME = 7.0, 260.0


def draw(evidence: Mapping[str, Any], metric: str) -> Drawing | None:
    """Draw effects by event time with both bands; None for a method without an event study."""
    estimate = find_estimate(evidence, metric)
    study, bands = estimate["event_study"], estimate["bands"]
    if study is None:
        return None
    times, values, reference = study["event_times"], study["values"], study["reference"]
    with canvas(height=3.8) as (figure, (axes,)):
        axes.axhline(0, color=MUTED, linewidth=0.8)
        mark_launch(axes, -0.5)
        if bands is not None:
            _draw_bands(axes, study, bands)
        _draw_values(axes, times, values)
        axes.plot([reference], [0], color=MUTED, marker="D", markersize=5, linestyle="none", markerfacecolor="none")
        axes.set_xlabel("periods since the launch (0 is the first period with it)")
        axes.set_ylabel(f"effect on {short(metric)}")
        axes.set_title("The effect by time since the launch", pad=36)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        legend_above(axes, ncols=2)
        svg = to_svg(figure)
    return Drawing(name="event_study", svg=svg, alt=_alt(estimate, metric), caption=" ".join(_caption(study, bands)))


def _draw_bands(axes: Axes, study: Mapping[str, Any], bands: Mapping[str, Any]) -> None:
    """Draw the pointwise band as a broad bar and the uniform one as a thin line where enough units stand behind them."""
    times = [time for time, n in zip(study["event_times"], study["n_treated"], strict=True) if n >= FEWEST_UNITS]
    row = {time: i for i, time in enumerate(study["event_times"])}
    level = f"{100 * bands['level']:g}%"
    broad = min(_WIDEST_BAR, _BARS_IN_FRAME / len(row))
    for prefix, width, alpha, label in (
        ("", broad, 0.3, f"{level}, each time alone"),
        ("uniform_", broad / 5, 0.9, f"{level}, all at once"),
    ):
        ends = [(time, bands[f"{prefix}lower"][row[time]], bands[f"{prefix}upper"][row[time]]) for time in times]
        known = [end for end in ends if None not in end]
        if known:
            at, lower, upper = zip(*known, strict=True)
            sides = [_LEAD if time < 0 else _LAG for time in at]
            axes.vlines(at, lower, upper, colors=sides, linewidth=width, alpha=alpha, label=label)


def _draw_values(axes: Axes, times: Sequence[int], values: Sequence[float]) -> None:
    size = min(6.0, max(2.0, 200 / len(times)))
    for side, fill, label in (
        (_LEAD, "none", "before the launch: placebo"),
        (_LAG, _LAG, "from the launch on: effect"),
    ):
        chosen = [i for i, time in enumerate(times) if (time < 0) == (side == _LEAD)]
        if chosen:
            axes.plot(
                [times[i] for i in chosen],
                [values[i] for i in chosen],
                color=side,
                marker="o",
                markersize=size,
                markerfacecolor=fill,
                linestyle="none",
                label=label,
            )


def _alt(estimate: Mapping[str, Any], metric: str) -> str:
    study, bands = estimate["event_study"], estimate["bands"]
    times, values = study["event_times"], study["values"]
    parts = [f"Effect on {metric} by periods since the launch, from {times[0]} to {times[-1]}, relative to period"]
    parts.append(f"{study['reference']}, which is 0 by definition.")
    for label, side in (("Before the launch (placebo)", -1), ("From the launch on", 1)):
        chosen = [(t, v) for t, v in zip(times, values, strict=True) if (t < 0) == (side < 0)]
        if chosen:
            shown = [f"{number(v, sign=True)} at {t}" for t, v in _some(chosen)]
            parts.append(f"{label}: {', '.join(shown)}.")
    for label, side in (("before", -1), ("after", 1)) if bands is not None else ():
        ends = _ends(study, bands, side)
        clear = sum(low > 0 or high < 0 for low, high in ends)
        if ends:
            parts.append(f"{clear} of {len(ends)} all-at-once bands {label} the launch leave out 0.")
    return " ".join(parts)


def _some(points: list[tuple[int, float]], limit: int = 12) -> Iterable[tuple[int, float]]:
    """Return at most a dozen points, the ones nearest to the launch."""
    return sorted(sorted(points, key=lambda point: abs(point[0]))[:limit])


def _ends(study: Mapping[str, Any], bands: Mapping[str, Any], side: int) -> list[tuple[float, float]]:
    """Return the uniform bands before (-1) or after the launch that are drawn."""
    rows = zip(study["event_times"], study["n_treated"], bands["uniform_lower"], bands["uniform_upper"], strict=True)
    drawn = [(time, low, high) for time, n, low, high in rows if n >= FEWEST_UNITS and None not in (low, high)]
    return [(low, high) for time, low, high in drawn if (time < 0) == (side < 0)]


def _caption(study: Mapping[str, Any], bands: Mapping[str, Any] | None) -> list[str]:
    """Say what the bands promise, what the leads are, and how many units stand behind the values."""
    reference, treated = study["reference"], study["n_treated"]
    texts = [f"Every value is a change since period {reference} (diamond, 0 by definition); dashed line: launch."]
    if any(time < 0 for time in study["event_times"]):
        texts.append("Hollow points lie before the launch, where there can be no effect: they are placebos.")
    if bands is None:
        texts.append("No bands: the uncertainty of single values isn't computed here.")
    else:
        level = f"{100 * bands['level']:g}%"
        texts.append(
            f"The broad bar covers the truth with {level} at one event time looked at alone. The thin line covers the "
            f"truth at all event times at once with {level}: use it to judge the whole picture."
        )
    if min(treated) < max(treated):
        texts.append(
            f"Not every launch is seen at every event time: {min(treated)} to {max(treated)} treated units stand "
            "behind a value, so the mix of units changes along the axis."
        )
        if bands is not None and min(treated) < FEWEST_UNITS:
            texts.append(f"Values that rest on fewer than {FEWEST_UNITS} have no band: their errors mean nothing.")
    return texts
