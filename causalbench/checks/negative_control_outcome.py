"""Does the method find an effect on an outcome that the treatment can't have touched?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import numpy as np
from numpy.random import Generator

from causalbench.checks._comparison import Adjusts, fitted_to
from causalbench.data.cross_section import CrossSection
from causalbench.errors import listing
from causalbench.inference import CATALOGUE as INFERENCES
from causalbench.protocols import Estimator
from causalbench.values import CheckResult, Estimate, FloatArray, Verdict, rejects
from causalbench.wording import number


@dataclass(frozen=True, slots=True, kw_only=True)
class NegativeControlOutcome:
    """The same method on the outcome before the treatment, on which the true effect is zero.

    An effect there is what confounding, or an arm unlike the other, does to this comparison (Lipsitch, Tchetgen Tchetgen, Cohen
    2010, https://doi.org/10.1097/EDE.0b013e3181d61eeb). Covariates that are the outcome before the treatment in another
    guise, which rise or fall with it throughout, are left out, since they'd hide it. A test at the level of the estimate's
    interval: it fails where zero is rejected. Where it isn't, but the placebo's interval is so wide that it holds a bias as
    large as the estimate, the check asks for review: then it says little. A method of differences uses up the outcome
    before the treatment and can't be asked.
    """

    question: ClassVar[str] = "Does the method find an effect on an outcome that the treatment can't have touched?"
    shape: ClassVar[str] = "cross-section"

    def run(
        self, estimator: Estimator[CrossSection], data: CrossSection, estimate: Estimate, *, rng: Generator
    ) -> CheckResult | None:
        """Estimate the effect on the past."""
        conclude = partial(CheckResult, name="negative-control-outcome", question=self.question)
        if not isinstance(estimator, Adjusts):
            return None
        if data.before is None or estimator.method == "dr-did":
            reason = (
                f"No outcome before the treatment is named, so the {data.metric} of the past can't be held against it."
                if data.before is None
                else "The method takes differences from the outcome before the treatment, so no past outcome is left."
            )
            return conclude(verdict="not_evaluable", reason=reason, remedy="Name an outcome from before the treatment.")
        if estimate.interval is None or not np.ptp(data.before) > 0:
            reason = "The inference gives no interval." if np.ptp(data.before) > 0 else "The past outcome doesn't vary."
            return conclude(verdict="not_evaluable", reason=reason)
        placebo, left_out = placebo_data(data)
        estimator = fitted_to(estimator, placebo)
        fit = estimator.fit(placebo)
        level = estimate.interval.level
        result = INFERENCES.create(estimate.inference, estimate.inference_options).infer(
            estimator, placebo, fit, level=level, rng=rng
        )
        if result.p_value is None or result.interval is None:
            return conclude(verdict="not_evaluable", reason="The inference gives no p-value for the past outcome.")
        found = rejects(result.p_value, level)
        wide = result.interval.contains(estimate.value) or result.interval.contains(-estimate.value)
        verdict: Verdict = "fail" if found else "review" if wide else "pass"
        reason = (
            f"On the outcome before the treatment the method finds {number(fit.effect)} (p = {result.p_value:.3g}), where there "
            f"can be no effect; beside {number(estimate.value)} after it."
        )
        if verdict == "review":
            reason += " Its interval is so wide that a bias as large as the estimate can't be ruled out."
        if left_out:
            reason += f" {listing(left_out)} {'was' if len(left_out) == 1 else 'were'} left out as the same thing as the outcome."
        return conclude(
            verdict=verdict,
            reason=reason,
            remedy=_REMEDIES[verdict],
            statistic=result.p_value,
            threshold=1 - level,
            table={
                "effect": fit.effect,
                "std_error": result.std_error,
                "segments": [list(segment) for segment in result.interval.segments],
                "level": level,
                "left_out": list(left_out),
            },
        )


_REMEDIES: dict[Verdict, str] = {
    "pass": "",
    "review": "Add units, or a past outcome that varies less.",
    "fail": "The arms differ in ways that the covariates don't catch: find what, or a better comparison group.",
}


def placebo_data(data: CrossSection) -> tuple[CrossSection, tuple[str, ...]]:
    """Return the cross-section with the past outcome as its outcome, and the covariates left out as the same thing."""
    if data.before is None:
        raise ValueError("the cross-section has no outcome before the treatment")
    same = [_moves_with(data.covariates[:, j], data.before) for j in range(len(data.names))]
    kept = [j for j, left in enumerate(same) if not left]
    placebo = replace(
        data,
        outcome=data.before,
        before=None,
        covariates=data.covariates[:, kept],
        names=tuple(data.names[j] for j in kept),
    )
    return placebo, tuple(name for name, left in zip(data.names, same, strict=True) if left)


def _moves_with(values: FloatArray, past: FloatArray) -> bool:
    """Tell whether values that vary rise throughout, or fall throughout, with the past outcome and are decided by it."""
    order = np.lexsort([values, past])
    steps, ties = np.diff(values[order]), np.diff(past[order]) == 0
    if not steps.any() or steps[ties].any():
        return False
    return bool((steps >= 0).all() or (steps <= 0).all())
