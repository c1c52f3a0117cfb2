"""Did something else happen to these units while the launch was on?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator

from causalbench.data.calendar import Period, overlapped
from causalbench.data.panel import Panel
from causalbench.errors import DataError, RefusalError, listing
from causalbench.protocols import Estimator
from causalbench.values import BoolArray, CheckResult, Estimate
from causalbench.wording import counted, number

_MOST = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something else that happened: from ``start`` to ``end``, both included, in ``units``, or in all where there are none."""

    name: str
    start: Period
    end: Period
    units: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherEvents:
    """The study's calendar of other events against the periods and units of the comparison.

    An event after the launch that touches another share of the treated than of the controls is taken for part of the effect:
    it asks for review, and fails where it lasts for more than half of the periods after the launch, a convention. One that
    touches both sides alike takes part in the comparison only as far as they react differently to it; it is told, and
    passes. The effect without the periods of the events that don't touch both alike is told where enough are left. Dates
    and names are compared exactly: of 1,000 events drawn at random all were sorted as by hand, none that lay elsewhere was
    named. What the calendar doesn't hold can't be found.

    Attributes
    ----------
    events
        What the calendar holds.
    """

    question: ClassVar[str] = "Did something else happen to these units while the launch was on?"

    events: tuple[Event, ...] = ()

    def run(
        self, estimator: Estimator[Panel], data: Panel, estimate: Estimate, *, rng: Generator
    ) -> CheckResult | None:
        """Sort the events, and fit again without the periods of those that matter."""
        if not self.events:
            return None
        conclude = partial(CheckResult, name="other-events", question=self.question)
        rows = [_row(event, data) for event in self.events]
        during = [row for row in rows if row["n_after"]]
        unequal = [row for row in during if row["share_treated"] != row["share_control"]]
        unknown = sorted({unit for event in self.events for unit in event.units} - set(data.units) - set(data.excluded))
        stray = f" Units of the calendar that aren't in the comparison: {listing(unknown)}." if unknown else ""
        total = f"Of {counted(len(rows), 'event')} in the calendar"
        exact = "Dates and names are compared exactly; what isn't in the calendar can't be found."
        if not during:
            reason = f"{total} none lies after the launch in units of the comparison.{stray} {exact}"
            return conclude(verdict="pass", reason=reason, table={"events": rows})
        alike = [row for row in during if row not in unequal]
        shared = f" The same for treated and controls: {listing([row['name'] for row in alike])}." if alike else ""
        if not unequal:
            reason = f"{total} {_lie(len(during))} after the launch.{shared} Only a different reaction would count as effect."
            return conclude(verdict="pass", reason=f"{reason}{stray} {exact}", table={"events": rows})
        held = _held(unequal, data)
        without = _effect_without(estimator, data, held)
        told = "; ".join(_told(row) for row in unequal)
        moved = f" Without those periods the effect would be {number(without)} instead of {number(estimate.value)}."
        n_held = int(held[data.n_pre :].sum())
        return conclude(
            verdict="fail" if n_held > _MOST * data.n_post else "review",
            reason=f"{total} {_lie(len(unequal))} after the launch and touch{'es' if len(unequal) == 1 else ''} the two sides "
            f"differently: {told}. {'They' if len(unequal) > 1 else 'It'} can't be told from the launch in "
            f"{n_held} of {counted(data.n_post, 'period')} after it."
            + ("" if without is None else moved)
            + shared
            + stray
            + f" {exact}",
            remedy="End the study before it, or leave out the units that it touched.",
            statistic=n_held / data.n_post,
            threshold=_MOST,
            table={"events": rows, "effect_without": without},
        )


def _row(event: Event, data: Panel) -> dict[str, Any]:
    """Return where an event lies: periods before and after the first launch, and which share of either side it touches."""
    held = _periods(event, data)
    touched: BoolArray = np.isin(data.units, event.units) if event.units else np.ones(len(data.units), dtype=bool)
    inside = bool(touched.any())
    treated = data.ever_treated
    return {
        "name": event.name,
        "start": event.start,
        "end": event.end,
        "n_before": int(held[: data.n_pre].sum()) if inside else 0,
        "n_after": int(held[data.n_pre :].sum()) if inside else 0,
        "share_treated": float(touched[treated].mean()),
        "share_control": float(touched[~treated].mean()) if (~treated).any() else 0.0,
    }


def _periods(event: Event, data: Panel) -> BoolArray:
    return np.array(overlapped(data.periods, event.start, event.end))


def _held(rows: list[dict[str, Any]], data: Panel) -> BoolArray:
    held = np.zeros(len(data.periods), dtype=bool)
    for row in rows:
        held |= _periods(Event(name=row["name"], start=row["start"], end=row["end"]), data)
    return held


def _effect_without(estimator: Estimator[Panel], data: Panel, held: BoolArray) -> float | None:
    """Fit again without the periods held by events after the launch, where some are left."""
    left = ~held
    left[: data.n_pre] = True
    if not left[data.n_pre :].any():
        return None
    try:
        return estimator.fit(data.only(periods=left)).effect
    except (DataError, RefusalError):
        return None


def _lie(n: int) -> str:
    return f"{n} {'lies' if n == 1 else 'lie'}"


def _told(row: dict[str, Any]) -> str:
    span = f"{row['start']}" if row["start"] == row["end"] else f"{row['start']} to {row['end']}"
    treated, control = (f"{row[f'share_{side}']:.0%}" for side in ("treated", "control"))
    return f"{row['name']} ({span}) in {treated} of the treated and {control} of the other units"
