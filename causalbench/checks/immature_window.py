"""Are the last periods complete, or will their numbers still come in?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
from numpy.random import Generator

from causalbench.checks._event_times import period_word
from causalbench.data.panel import Panel
from causalbench.errors import DataError, RefusalError
from causalbench.protocols import Estimator
from causalbench.values import CheckResult, Estimate, FloatArray
from causalbench.wording import counted, number, percent

_BACK = 8
_FAR = 6.0
_FEWEST = 20
_FREQUENCIES = ("hour", "day", "week")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImmatureWindow:
    """Periods at the end whose outcome is still coming in, by what the study says of the metric, and by a common drop.

    A metric with a ``maturity`` of m, such as 7 days for purchases within a week, is complete m periods later: the last m
    periods of the table are not. They ask for review, and fail where they are more than half of the periods after the launch,
    a convention; the effect without them is told. Whatever the study says, hours, days and weeks at the end are searched for a
    drop of all units never treated alike: the median over units of the outcome relative to each unit's mean, less its median
    in the same place of the eight seasons before (in the eight periods before, where there is no season), more than six robust
    standard deviations below zero. Simulated with 40 units over 141 days, three AR(.5) factors, a weekly season and noise of
    2%, a complete last day is taken for a drop in at most 1% of panels, and a last day of which a fifth is missing is found in
    at least 95% (``tests/simulation/test_launch_check_sizes.py``).

    Attributes
    ----------
    maturity
        Number of periods that an outcome needs to be complete; 0 where the study doesn't say.
    later
        Number of periods in the table after the last one of the comparison.
    """

    question: ClassVar[str] = "Are the last periods complete, or will their numbers still come in?"

    maturity: int = 0
    later: int = 0

    def run(
        self, estimator: Estimator[Panel], data: Panel, estimate: Estimate, *, rng: Generator
    ) -> CheckResult | None:
        """Count immature periods, and fit again without them."""
        dated = data.frequency in _FREQUENCIES
        if not self.maturity and not dated:
            return None
        conclude = partial(CheckResult, name="immature-window", question=self.question)
        word = period_word(data)
        drop, size, unit = _drop(data) if dated and not self.later else (0, 0.0, None)
        n_declared = min(max(self.maturity - self.later, 0), data.n_post)
        n_immature = max(n_declared, min(drop, data.n_post))
        said = f"{estimate.metric} needs {counted(self.maturity, word)} to be complete" if self.maturity else ""
        seen = (
            f"all untreated units together stand {percent(size)} lower than usual in the last {_last(drop, word)}"
            if drop
            else ""
        )
        noticed = (
            f" A common drop of {percent(_FAR * unit)} in the last {word} would be noticed." if unit is not None else ""
        )
        table = {"n_immature": n_immature, "n_declared": n_declared, "n_dropped": drop, "drop": size}
        conclude = partial(conclude, statistic=float(n_immature), threshold=0.0)
        if not n_immature:
            if self.maturity:
                reason = f"{said}, and the table goes on for {self.later} after the last one that is used."
                return conclude(verdict="pass", reason=reason, table=table)
            if unit is None:
                return None
            return conclude(
                verdict="pass", reason=f"Nothing drops at the end.{noticed} The study states no maturity.", table=table
            )
        without = _effect_without(estimator, data, n_immature)
        start = ""
        if n_declared:
            start = f"{said}, so the last {_last(n_declared, word)} of {data.n_post} after the launch "
            start += f"{'is' if n_declared == 1 else 'are'} not. "
        start += f"{seen[:1].upper()}{seen[1:]}. " if drop else ""
        them = "it" if n_immature == 1 else "them"
        moved = "No complete period is left after the launch."
        if without is not None:
            moved = f"Without {them} the effect would be {number(without)} instead of {number(estimate.value)}."
        return conclude(
            verdict="fail" if 2 * n_immature > data.n_post else "review",
            reason=start + moved,
            remedy="Wait until the numbers are in, or end the study before them with [launch] end.",
            table=table | {"effect_without": without},
        )


def _last(n: int, word: str) -> str:
    return word if n == 1 else f"{n} {word}s"


def _drop(data: Panel) -> tuple[int, float, float | None]:
    """Return how many last periods lie far below, by what share, and the robust spread; None where there is no history."""
    rows = data.outcome[~data.ever_treated]
    rows = rows[np.isfinite(rows).all(axis=1)] if len(rows) else rows
    means = rows.mean(axis=1, keepdims=True)
    rows, means = rows[means[:, 0] > 0], means[means[:, 0] > 0]
    step = data.season if data.season > 1 and len(data.periods) >= (_BACK // 2) * data.season + _FEWEST else 1
    if len(rows) < 2 or len(data.periods) < _FEWEST + 2 * step or data.scale == "log":
        return 0, 0.0, None
    gaps = _gaps(np.median(rows / means, axis=0), step)
    known = gaps[np.isfinite(gaps)]
    spread = 1.4826 * float(np.median(np.abs(known - np.median(known))))
    if not spread > 0 or len(known) < _FEWEST:
        return 0, 0.0, None
    low = gaps < -_FAR * spread
    n = 0
    while n < len(gaps) and low[-1 - n]:
        n += 1
    return n, -float(gaps[len(gaps) - n :].mean()) if n else 0.0, spread


def _gaps(common: FloatArray, step: int) -> FloatArray:
    """Return each period less the median of those in the same place of up to eight seasons before; NaN at the beginning."""
    gaps = np.full(len(common), math.nan)
    for t in range(2 * step, len(common)):
        before = common[max(t - _BACK * step, t % step) : t : step]
        gaps[t] = common[t] - np.median(before)
    return gaps


def _effect_without(estimator: Estimator[Panel], data: Panel, n: int) -> float | None:
    if n >= data.n_post:
        return None
    try:
        return estimator.fit(data.only(periods=np.arange(len(data.periods)) < len(data.periods) - n)).effect
    except (DataError, RefusalError):
        return None
