"""What several checks read from an event study: its leads, its lags, and how well their errors are known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np

from causalbench.data.panel import Panel
from causalbench.numerics.event_time_contrasts import Contrast, contrast
from causalbench.numerics.pre_trends import welch_degrees
from causalbench.values import BoolArray, Estimate, EventStudy, FloatArray

SIZE = 0.05
"""Size of every test of a check, whatever the level of the estimate's interval."""

HALF = 0.5
"""A disturbance of less than this share of the effect doesn't turn its sign; a convention."""

_FEWEST = 3
"""With fewer treated or control units or clusters than this, errors by event time are not usable."""

_ENOUGH = 10
"""Event times with fewer treated units are left out, or with fewer than half of them where they are less than twenty."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Values:
    """Effects at some event times, all relative to one reference period.

    Attributes
    ----------
    times, values, n_treated
        Event times, effects and treated units behind them, shape (k,).
    covariance
        Shape (k, k).
    reference
        Event time that the values are relative to.
    degrees
        Degrees of freedom behind the covariance.
    problem
        Why the errors can't be used, a sentence; empty where they can.
    note
        Which event times are left out for having few treated units, a sentence with a space before it; or empty.
    """

    times: FloatArray
    values: FloatArray
    n_treated: FloatArray
    covariance: FloatArray
    reference: int
    degrees: float
    problem: str
    note: str

    @property
    def std_errors(self) -> FloatArray:
        """Standard error of each value, shape (k,)."""
        errors: FloatArray = np.sqrt(np.diag(self.covariance))
        return errors

    @property
    def distances(self) -> FloatArray:
        """Periods since the reference, shape (k,), negative for leads."""
        return self.times - self.reference

    def combine(self, weights: FloatArray) -> Contrast:
        """Evaluate a linear combination of the values."""
        return contrast(self.values, self.covariance, weights, degrees=self.degrees)


def arises(study: EventStudy | None, *, n_leads: int = 0, n_lags: int = 1) -> TypeGuard[EventStudy]:
    """Tell whether there is an event study with that many event times before the reference and after the launch."""
    if study is None:
        return False
    return int((study.event_times < study.reference).sum()) >= n_leads and int((study.event_times >= 0).sum()) >= n_lags


def leads(study: EventStudy, data: Panel, *, fewest: int = 1) -> Values:
    """Return the values before the reference period."""
    return _part(study, study.event_times < study.reference, data, fewest)


def lags(study: EventStudy, data: Panel, *, fewest: int = 1) -> Values:
    """Return the values from the launch on."""
    return _part(study, study.event_times >= 0, data, fewest)


def before_launch(study: EventStudy, data: Panel, *, fewest: int) -> Values:
    """Return every value before the launch, those between reference and launch included but not counted as leads."""
    anticipating = int(((study.event_times > study.reference) & (study.event_times < 0)).sum())
    return _part(study, study.event_times < 0, data, fewest + anticipating)


def average_lag(study: EventStudy) -> float:
    """Return the average effect over treated units and periods after the launch, relative to the reference period."""
    after = study.event_times >= 0
    return float(np.average(study.values[after], weights=study.n_treated[after]))


def exposure(study: EventStudy, estimate: Estimate) -> float:
    """Return by how much a steady drift of one per period would move the estimate.

    That is the distance in periods between the average treated period and what it is compared with: the reference
    period, or the mean of all periods before the launch where that is how the estimate comes about.
    """
    after, before = study.event_times >= 0, study.event_times < study.reference
    distances = study.event_times - study.reference
    to_reference = float(np.average(distances[after], weights=study.n_treated[after]))
    n_history = int(before.sum()) + 1
    over_history = float(study.values[before].sum()) / n_history
    size = float(np.abs(study.values).max())
    if abs(estimate.value - (average_lag(study) - over_history)) <= 1e-6 * size < abs(over_history):
        return to_reference - float(distances[before].sum()) / n_history
    return to_reference


def period_word(data: Panel) -> str:
    """Return what one period is called, in the singular."""
    return "period" if data.frequency in ("number", "irregular") else data.frequency


def counted(n: int, word: str) -> str:
    """Write a count with its noun."""
    return f"{n} {word}" if n == 1 else f"{n} {word}s"


def _part(study: EventStudy, side: BoolArray, data: Panel, fewest: int) -> Values:
    most = int(study.n_treated.max(initial=0))
    enough = min(_ENOUGH, max(_FEWEST, math.ceil(most / 2)))
    chosen = side & (study.n_treated >= min(enough, most))
    values, covariance = study.values[chosen], study.covariance[np.ix_(chosen, chosen)]
    n_treated = study.n_treated[chosen].astype(float)
    sides = _independent_units(data, int(n_treated.min(initial=most)))
    problem = _problem(values, covariance, sides, data)
    if len(values) < fewest:
        problem = (
            f"Only {len(values)} of {int(side.sum())} event times have {enough} treated units or more behind them."
        )
    return Values(
        times=study.event_times[chosen].astype(float),
        values=values,
        n_treated=n_treated,
        covariance=covariance,
        reference=study.reference,
        degrees=welch_degrees(*sides),
        problem=problem,
        note=f" Event times with fewer than {enough} treated units are left out." if (side & ~chosen).any() else "",
    )


def _independent_units(data: Panel, n_treated: int) -> tuple[float, float]:
    """Count what is independent on each side: units, or clusters where units belong to some."""
    treated = data.ever_treated
    labels = np.array(data.units if data.cluster is None else data.cluster)
    all_treated, never = len(set(labels[treated].tolist())), len(set(labels[~treated].tolist()))
    own = all_treated * min(n_treated / max(int(treated.sum()), 1), 1.0)
    return own, float(never or len(set(labels.tolist())) - math.ceil(own))


def _problem(values: FloatArray, covariance: FloatArray, sides: tuple[float, float], data: Panel) -> str:
    word = data.unit_name if data.cluster is None else "cluster"
    if min(sides) < _FEWEST:
        few = f"{sides[0]:.3g} treated and {sides[1]:.3g} control"
        return f"Errors by event time need {_FEWEST} on each side, there are {few} ({word})."
    errors = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    if not np.isfinite(values).all() or not np.isfinite(covariance).all():
        return "Some effects by event time have no value or no error."
    if (errors <= 1e-10 * max(float(np.abs(values).max(initial=0.0)), float(errors.max(initial=0.0)))).any():
        return "Some effects by event time have an error of zero, so they can't be tested."
    return ""
