"""Did the counterfactual follow the treated units before the launch?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
from numpy.random import Generator

from causalbench.checks._event_times import period_word
from causalbench.data.panel import Panel
from causalbench.protocols import Estimator
from causalbench.values import CheckResult, Estimate, Verdict
from causalbench.wording import counted

_GOOD, _POOR = 0.8, 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class PrePeriodFit:
    """Share of the treated units' movement before the launch that the counterfactual reproduces.

    One less the mean squared gap over the variance of the observed mean, both before the launch, where both means are
    known. From 80% up it passes, below 50% it fails; both limits are conventions. Whether the fit is more than chance is
    asked by ``overfitting``. Methods that compare changes (with an event study) claim parallel paths,
    not equal ones; for them the question doesn't arise.
    """

    question: ClassVar[str] = "Did the counterfactual follow the treated units before the launch?"

    def run(
        self, estimator: Estimator[Panel], data: Panel, estimate: Estimate, *, rng: Generator
    ) -> CheckResult | None:
        """Compare the gap before the launch with the movement there was to follow."""
        if estimate.event_study is not None:
            return None
        conclude = partial(CheckResult, name="pre-period-fit", question=self.question, threshold=_GOOD)
        gaps = estimate.path.effect[: data.n_pre]
        known = np.isfinite(gaps)
        pre = int(known.sum())
        if not pre:
            reason = "No period before the launch has both an observed and a counterfactual mean."
            return conclude(verdict="not_evaluable", reason=reason, remedy="Add the missing cells before the launch.")
        spread = float(estimate.path.observed[: data.n_pre][known].var())
        mspe = float((gaps[known] ** 2).mean())
        if spread == 0:
            reason = "The treated units' mean didn't move before the launch, so there was nothing to follow."
            return conclude(verdict="not_evaluable", reason=reason)
        share = 1 - mspe / spread
        remedy = "" if share >= _GOOD else "Look at the path: add history, better donors, or fixed_effects = unit."
        verdict: Verdict = "pass" if share >= _GOOD else "review" if share >= _POOR else "fail"
        history = counted(pre, period_word(data))
        reason = f"It reproduces {max(share, 0):.0%} of the movement over {history}; {_GOOD:.0%} are wanted."
        return conclude(verdict=verdict, reason=reason, remedy=remedy, statistic=share)
