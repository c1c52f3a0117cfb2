"""Does the method find an effect before anything was launched?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
from numpy.random import Generator

from causalbench.checks._event_times import period_word
from causalbench.data.panel import Panel
from causalbench.errors import RefusalError
from causalbench.inference import CATALOGUE as INFERENCES
from causalbench.protocols import Estimator
from causalbench.values import CheckResult, Estimate
from causalbench.wording import counted, number


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceboInTime:
    """The same method and inference on the history alone, with a launch that never was.

    The mock launch takes the last periods of the history, as many as the post period has but at most a third. A
    rejection there means that the method reacts to something else than the launch (Abadie, Diamond, Hainmueller 2015,
    section 3). One such placebo is one draw, not a rate.
    """

    question: ClassVar[str] = "Does the method find an effect before anything was launched?"

    def run(self, estimator: Estimator[Panel], data: Panel, estimate: Estimate, *, rng: Generator) -> CheckResult:
        """Move the launch into the history and test there."""
        length = min(data.n_post, data.n_pre // 3)
        conclude = partial(CheckResult, name="placebo-in-time", question=self.question)
        if estimate.interval is None or length < 1 or data.n_pre - length < estimator.requires.min_pre:
            history = counted(data.n_pre, period_word(data))
            reason = (
                f"{history} before the launch {'leaves' if data.n_pre == 1 else 'leave'} no room for a mock launch."
            )
            return conclude(verdict="not_evaluable", reason=reason, remedy="Add history.")
        level = estimate.interval.level
        earlier = data.only(periods=np.arange(len(data.periods)) < data.n_pre)
        mock = earlier.assigned_to(data.ever_treated, start=data.n_pre - length)
        try:
            fit = estimator.fit(mock)
            result = INFERENCES.create(estimate.inference, estimate.inference_options).infer(
                estimator, mock, fit, level=level, rng=rng
            )
        except RefusalError as refusal:
            reason = f"The method can't be applied to a mock launch here: {refusal.message}."
            return conclude(verdict="not_evaluable", reason=reason, remedy="Look at the other checks.")
        bayesian = result.posterior_tail is not None
        probability = result.posterior_tail if bayesian else result.p_value
        if result.interval is None or probability is None:
            reason = "The inference gives no interval with a p-value or a posterior tail for the mock launch."
            return conclude(verdict="not_evaluable", reason=reason)
        found = not result.interval.contains(0.0)
        how_sure = f"{'posterior tail' if bayesian else 'p ='} {probability:.3g}"
        reason = (
            f"With a mock launch at {mock.periods[mock.n_pre]} the effect would be {number(fit.effect)} "
            f"({how_sure}), beside {number(estimate.value)} after the real one."
        )
        return conclude(
            verdict="review" if found else "pass",
            reason=reason,
            remedy="Look for another event before the launch, or for groups that drifted apart." if found else "",
            statistic=probability,
            threshold=(1 - level) / 2 if bayesian else 1 - level,
            table={"mock_launch": mock.periods[mock.n_pre], "n_periods": length, "effect": fit.effect},
        )
