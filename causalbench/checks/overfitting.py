"""Does the fit hold in periods that it hasn't seen?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator

from causalbench.checks._event_times import period_word
from causalbench.data.panel import Panel
from causalbench.protocols import Estimator
from causalbench.values import CheckResult, Estimate, FloatArray
from causalbench.wording import counted, number

_STRETCHES = 5
_RATE = 3
_WORSE = 2.0
_PERFECT = 1e-10


@dataclass(frozen=True, slots=True, kw_only=True)
class Overfitting:
    """The method fitted on an earlier part of the history, and held against what came next.

    Up to five stretches at the end of the history are held out, each as long as the post period but at most a third of
    the history, and never leaving less than half of it to fit on. Their root mean squared gap is compared with that over
    the periods fitted, and with the error of repeating the last season (the last value where there is no season) of the
    treated units' mean, which knows no donor (Hyndman, Athanasopoulos 2021, section 5.2, the seasonal naive method).
    Worse than that fails, or asks for review where fewer than three stretches are held out, as one or two are a draw and no
    rate. More than twice the error where it was fitted, a convention, asks for review, and so does a
    perfect fit with more donors than periods, which any noise would get. Methods that compare changes (with an event
    study) don't choose weights by fit; for them the question doesn't arise.
    """

    question: ClassVar[str] = "Does the fit hold in periods that it hasn't seen?"

    def run(
        self, estimator: Estimator[Panel], data: Panel, estimate: Estimate, *, rng: Generator
    ) -> CheckResult | None:
        """Hold out the last stretches before the launch, one at a time."""
        if estimate.event_study is not None:
            return None
        conclude = partial(CheckResult, name="overfitting", question=self.question, threshold=_WORSE)
        length = min(data.n_post, data.n_pre // 3)
        starts = _starts(data.n_pre, length, fewest=estimator.requires.min_pre)
        stretches = [_hold_out(estimator, data, estimate, start, length) for start in starts]
        known = [stretch for stretch in stretches if all(math.isfinite(stretch[key]) for key in _ERRORS)]
        history = counted(data.n_pre, period_word(data))
        if not known:
            reason = f"{history} before the launch {'leaves' if data.n_pre == 1 else 'leave'} nothing to hold out."
            return conclude(verdict="not_evaluable", reason=reason, remedy="Add history.")
        fitted, held_out, naive = (
            math.sqrt(sum(stretch[key] ** 2 for stretch in known) / len(known)) for key in _ERRORS
        )
        donors = len(data.donor_pool)
        perfect = donors > data.n_pre and _is_perfect(estimate.path.effect, estimate.path.observed, data.n_pre)
        ratio = held_out / fitted if fitted > 0 else None
        again = f"the last {counted(data.season, period_word(data))}" if data.season > 1 else "the last value"
        reason = (
            f"In {len(known)} {'stretch' if len(known) == 1 else 'stretches'} of "
            f"{counted(length, period_word(data))} held out of the history it misses {estimate.metric} by "
            f"{number(held_out)}, where it was fitted by {number(fitted)}; repeating {again} misses by {number(naive)}."
        )
        conclude = partial(
            conclude,
            statistic=ratio,
            table={"fitted": fitted, "held_out": held_out, "naive": naive, "stretches": known},
        )
        if held_out > naive:
            return conclude(
                verdict="fail" if len(known) >= _RATE else "review",
                reason=f"{reason} The donors tell less than the treated units' own past.",
                remedy="Lengthen the history, exclude donors, or take another method.",
            )
        if perfect:
            reason = f"A perfect fit with {donors} donors and only {history} is overfitting, not evidence. {reason}"
            return conclude(verdict="review", reason=reason, remedy="Lengthen the history or exclude donors.")
        if ratio is None or ratio > _WORSE:
            return conclude(
                verdict="review",
                reason=f"{reason} Part of the fit before the launch is chance, so expect gaps of the size held out.",
                remedy="Lengthen the history or exclude donors.",
            )
        return conclude(verdict="pass", reason=reason)


_ERRORS = ("fitted", "held_out", "naive")


def _starts(n_pre: int, length: int, *, fewest: int) -> list[int]:
    """Return where held-out stretches begin, the last one first."""
    if length < 1:
        return []
    least = max(fewest, math.ceil(n_pre / 2))
    return list(range(n_pre - length, least - 1, -length))[:_STRETCHES]


def _hold_out(estimator: Estimator[Panel], data: Panel, estimate: Estimate, start: int, length: int) -> dict[str, Any]:
    """Fit on what lies before a stretch; return root mean squared errors there, in the stretch, and of the naive rule."""
    end = start + length
    mock = data.only(periods=np.arange(len(data.periods)) < end).assigned_to(data.ever_treated, start=start)
    gap = estimator.fit(mock).path.effect
    observed = estimate.path.observed[:end]
    season = data.season if data.season <= start else 1
    repeated = observed[start - season + np.arange(length) % season]
    return {
        "start": data.periods[start],
        "n_periods": length,
        "fitted": _root_mean_square(gap[:start]),
        "held_out": _root_mean_square(gap[start:]),
        "naive": _root_mean_square(observed[start:] - repeated),
    }


def _root_mean_square(values: FloatArray) -> float:
    known = values[np.isfinite(values)]
    return float(np.sqrt((known**2).mean())) if len(known) else math.nan


def _is_perfect(gap: FloatArray, observed: FloatArray, n_pre: int) -> bool:
    before = np.isfinite(gap[:n_pre])
    return bool((gap[:n_pre][before] ** 2).mean() <= _PERFECT * observed[:n_pre][before].var())
