"""What several checks read from an event study: its leads, its lags, and how well their errors are known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np

from causalbench.data.panel import Panel
from causalbench.numerics.event_time_contrasts import Contrast, contrast
from causalbench.numerics.pre_trends import effective_number, welch_degrees
from causalbench.values import BoolArray, Estimate, EventStudy, FloatArray
from causalbench.wording import counted

SIZE = 0.05
"""Size of every test of a check, whatever the level of the estimate's interval."""

HALF = 0.5
"""A disturbance of less than this share of the effect doesn't turn its sign; a convention."""

_FEWEST = 3
"""With effectively fewer treated or control units or clusters than this, errors by event time are not usable."""

_ENOUGH = 10
"""Event times with fewer treated units are left out, or with fewer than half of them where they are less than twenty."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Values:
    """Effects at some event times, all relative to one reference period.

    Attributes
    ----------
    times, values
        Event times and effects, shape (k,).
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
    after = (study.event_times >= 0) & np.isfinite(study.values)
    return float(np.average(study.values[after], weights=shares(study)[after])) if after.any() else math.nan


def shares(study: EventStudy) -> FloatArray:
    """Return by which weights values are averaged over event times, shape (K,)."""
    return study.n_treated.astype(float) if study.shares is None else study.shares


def exposure(study: EventStudy, data: Panel, estimate: Estimate) -> float:
    """Return by how much a steady drift of one per period would move the estimate.

    That is the distance in periods between the average treated period and what it is compared with: the reference
    period, or all periods before the launch where the estimator says so by ``baseline = "all"`` in its detail.
    """
    after = study.event_times >= 0
    treated_period = float(np.average(study.event_times[after], weights=shares(study)[after]))
    return treated_period - (_history(data) if estimate.detail.get("baseline") == "all" else study.reference)


def period_word(data: Panel) -> str:
    """Return what one period is called, in the singular."""
    return "period" if data.frequency in ("number", "irregular") else data.frequency


def _history(data: Panel) -> float:
    """Return the mean event time of the treated units' periods before the launch, by weight and treated periods."""
    first, at = data.first_treated, data.positions
    launches = [start for start in np.unique(first[data.ever_treated]).tolist() if start > 0]
    means = [float((at[:start] - at[start]).mean()) for start in launches]
    sizes = [float(_sizes(data)[first == start].sum()) * (len(at) - start) for start in launches]
    return float(np.average(means, weights=sizes))


def _sizes(data: Panel) -> FloatArray:
    return np.ones(len(data.units)) if data.weights is None else data.weights


def _part(study: EventStudy, side: BoolArray, data: Panel, fewest: int) -> Values:
    most = int(study.n_treated.max(initial=0))
    enough = min(_ENOUGH, max(_FEWEST, math.ceil(most / 2)))
    chosen = side & (study.n_treated >= min(enough, most))
    values, covariance = study.values[chosen], study.covariance[np.ix_(chosen, chosen)]
    independent = _independent(study, chosen, data)
    problem = _problem(values, covariance, independent, data)
    if len(values) < fewest:
        problem = (
            f"Only {len(values)} of {counted(int(side.sum()), 'event time')} {'has' if len(values) == 1 else 'have'} "
            f"{counted(min(enough, most), 'treated unit')} or more behind {'it' if len(values) == 1 else 'them'}."
        )
    return Values(
        times=study.event_times[chosen].astype(float),
        values=values,
        covariance=covariance,
        reference=study.reference,
        degrees=min(welch_degrees(independent.treated, independent.control), independent.together - 1),
        problem=problem,
        note=f" Event times with fewer than {enough} treated units are left out." if (side & ~chosen).any() else "",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Independent:
    """Effective number of independent units, or of clusters where units belong to some.

    ``together`` counts clusters of both arms where some hold treated and control units, which are then not independent
    of each other; infinite where none does.
    """

    treated: float
    control: float
    together: float


def _independent(study: EventStudy, chosen: BoolArray, data: Panel) -> _Independent:
    """Count what is independent on each side, at the event time with the fewest."""
    treated, sizes = data.ever_treated, _sizes(data)

    def totals(rows: BoolArray) -> FloatArray:
        return np.bincount(data.cluster_codes[rows], sizes[rows], minlength=data.n_clusters).astype(float)

    own = effective_number(totals(treated))
    for time, count in zip(study.event_times[chosen].tolist(), study.n_treated[chosen].tolist(), strict=True):
        seen = _observed_at(data, time)
        # Fewer units than the panel holds: some have no comparison, or no outcome.
        own = min(own, effective_number(totals(seen)) * min(count / max(int(seen.sum()), 1), 1.0))
    never = totals(~treated)
    if not never.any():
        return _Independent(treated=own, control=effective_number(totals(treated)) - math.ceil(own), together=math.inf)
    both, launched = effective_number(totals(treated) / sizes[treated].sum() + never / never.sum()), totals(treated)
    mixed = bool(((launched > 0) & (never > 0)).any())
    return _Independent(treated=own, control=effective_number(never), together=both if mixed else math.inf)


def _observed_at(data: Panel, time: int) -> BoolArray:
    """Return which units launch, and at which the data hold a period at this event time."""
    start = np.minimum(data.first_treated, len(data.periods) - 1)
    found: BoolArray = data.ever_treated & np.isin(data.positions[start] + time, data.positions)
    return found


def _problem(values: FloatArray, covariance: FloatArray, found: _Independent, data: Panel) -> str:
    word = data.unit_name if data.cluster is None else "cluster"
    if min(found.treated, found.control) < _FEWEST:
        even = data.weights is None and data.cluster is None
        few = f"{'' if even else 'in effect '}{found.treated:.3g} treated and {max(found.control, 0):.3g} control"
        uneven = "" if even else ", fewer the more unequal their weights are"
        return f"Errors by event time need {_FEWEST} on each side, there are {few} ({word}){uneven}."
    errors = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    if not np.isfinite(values).all() or not np.isfinite(covariance).all():
        return "Some effects by event time have no value or no error."
    if (errors <= 1e-10 * max(float(np.abs(values).max(initial=0.0)), float(errors.max(initial=0.0)))).any():
        return "Some effects by event time have an error of zero, so they can't be tested."
    return ""
