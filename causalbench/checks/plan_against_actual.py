"""Did the units get what was planned, when it was planned?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator

from causalbench.data.panel import Panel
from causalbench.errors import DataError, RefusalError, listing
from causalbench.estimators import CATALOGUE as ESTIMATORS
from causalbench.protocols import Estimator
from causalbench.values import BoolArray, CheckResult, Estimate
from causalbench.wording import counted, number

_HAS = 0.5
_FEW = 0.05
_SEVERAL_DATES = "imputation"
"""The method for what units really got where the study's own takes one launch date."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanAgainstActual:
    """The planned treatment of every unit and period against what a column of the data says that they got.

    A unit departs from the plan when it got the launch without being planned, before or after its planned date, or not at all.
    Departures of at most 5% of the units of each side, a convention, ask for review; more fail. The effect of the plan (intention
    to treat) is told beside that of what units really got, from the first period on in which they did, and beside that of
    the units that kept to the plan; the latter two are no longer comparisons that were assigned. Cells are compared one by one:
    of 100 departures put into simulated plans all were found, and none where there was none. What the column doesn't record
    can't be found.

    Attributes
    ----------
    actual
        Share of each cell's rows that got it, shape (n_units, n_periods), NaN where nothing is known.
    random
        Whether the plan was drawn at random.
    """

    question: ClassVar[str] = "Did the units get what was planned, when it was planned?"

    actual: Any = None
    random: bool = False

    def run(
        self, estimator: Estimator[Panel], data: Panel, estimate: Estimate, *, rng: Generator
    ) -> CheckResult | None:
        """Compare cell by cell, and fit again as treated and without the units that departed."""
        if self.actual is None:
            return None
        conclude = partial(CheckResult, name="plan-against-actual", question=self.question)
        known = ~np.isnan(self.actual)
        got = known & (np.nan_to_num(self.actual) >= _HAS)
        if not known.any():
            return conclude(verdict="not_evaluable", reason="The column of who got it is empty.", remedy="Fill it in.")
        rows = [row for i in range(len(data.units)) if (row := _departure(data, i, got[i], known[i])) is not None]
        n_unknown = int((~known).sum())
        unknown = f" Of {counted(n_unknown, 'cell')} nothing is known." if n_unknown else ""
        if not rows:
            reason = f"Every unit got what was planned, in all {int(known.sum())} cells.{unknown}"
            return conclude(verdict="pass", reason=reason, statistic=0.0, threshold=_FEW, table={"departures": []})
        departed: BoolArray = np.isin(data.units, [row["unit"] for row in rows])
        share = max(float(departed[side].mean()) for side in (data.ever_treated, ~data.ever_treated) if side.any())
        as_treated = _as_treated(estimator, data, got, estimate)
        kept = _refit(estimator, data.only(units=~departed)) if (~departed & data.ever_treated).any() else None
        withdrawn = (
            " They were drawn at random, what they got was not: only the effect of the plan is." if self.random else ""
        )
        return conclude(
            verdict="review" if share <= _FEW else "fail",
            reason=f"{_told(rows)}. {_effects(estimate, as_treated, kept)}{withdrawn}{unknown}",
            remedy="Report the effect of the plan, and say that it is diluted; call nothing randomized that wasn't."
            if self.random
            else "Report the effect of the plan, and say that it is diluted; find out why these units departed.",
            statistic=share,
            threshold=_FEW,
            table={
                "departures": rows,
                "as_planned": estimate.value,
                "as_treated": as_treated and as_treated[0],
                "kept_to_plan": kept,
            },
        )


def _departure(data: Panel, i: int, got: BoolArray, known: BoolArray) -> dict[str, Any] | None:
    """Return how one unit departed from its plan: kind, and from when to when."""
    planned = data.treated[i]
    extra, lacking = known & got & ~planned, known & ~got & planned
    if not extra.any() and not lacking.any():
        return None
    off = extra | lacking
    if not planned.any():
        kind = "not planned"
    elif extra.any():
        kind = "early"
    elif not (known & got & planned).any():
        kind = "never"
    else:
        kind = "late" if not lacking[np.flatnonzero(known & got & planned)[0] :].any() else "with gaps"
    at = np.flatnonzero(off)
    return {
        "unit": data.units[i],
        "kind": kind,
        "since": data.periods[int(at[0])],
        "until": data.periods[int(at[-1])],
        "n_periods": int(off.sum()),
    }


def _told(rows: Sequence[dict[str, Any]]) -> str:
    """Name the units that departed, by how."""
    says = {
        "not planned": "got it without being planned",
        "early": "got it before the planned date",
        "never": "never got it",
        "late": "got it later than planned",
        "with gaps": "did not have it all the time",
    }
    parts = []
    for kind, words in says.items():
        some = [row for row in rows if row["kind"] == kind]
        if some:
            since = "until" if kind == "late" else "from"
            at = "until" if kind == "late" else "since"
            names = listing([f"{row['unit']} ({since} {row[at]})" for row in some], limit=6)
            parts.append(f"{counted(len(some), 'unit')} {words}: {names}")
    return "; ".join(parts)


def _effects(estimate: Estimate, as_treated: tuple[float, str] | None, kept: float | None) -> str:
    text = f"The effect of the plan (intention to treat) is {number(estimate.value)}"
    if as_treated is not None:
        by = "" if as_treated[1] == estimate.estimator else f", by {as_treated[1]}"
        text += f"; of what units really got (as treated{by}) {number(as_treated[0])}"
    return text + (f"; of the units that kept to the plan {number(kept)}." if kept is not None else ".")


def _as_treated(
    estimator: Estimator[Panel], data: Panel, got: BoolArray, estimate: Estimate
) -> tuple[float, str] | None:
    """Fit with every unit treated from the first period on in which it got it, and name the method that could."""
    treated: BoolArray = np.maximum.accumulate(got, axis=1)
    if not treated.any() or treated[:, 0].any():
        return None
    really = replace(data, treated=treated)
    own = _refit(estimator, really)
    if own is not None:
        return own, estimate.estimator
    other = _refit(ESTIMATORS.create(_SEVERAL_DATES), really)
    return None if other is None else (other, _SEVERAL_DATES)


def _refit(estimator: Estimator[Panel], data: Panel) -> float | None:
    most = estimator.requires.max_cohorts
    if data.n_control < estimator.requires.min_control or (most is not None and len(data.cohorts) > most):
        return None
    try:
        return estimator.fit(data).effect
    except (DataError, RefusalError):
        return None
