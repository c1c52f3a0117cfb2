"""Are the groups alike once they are weighted?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator

from causalbench.checks._comparison import comparison
from causalbench.data.cross_section import CrossSection
from causalbench.protocols import Estimator
from causalbench.values import BoolArray, CheckResult, Estimate, FloatArray, Verdict
from causalbench.wording import counted

_ALIKE = 0.1
_APART = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class CovariateBalance:
    r"""Standardized differences of the covariates between the arms, before and after weighting.

    :math:`(\bar x_1 - \bar x_0) / \sqrt{(s_1^2 + s_0^2) / 2}` with the standard deviations before weighting in both, so that only
    the means move. Up to .1 passes (Austin 2009, https://doi.org/10.1002/sim.3697), beyond .25 fails (Rubin 2001,
    https://doi.org/10.1023/A:1020363010465): both are conventions, and no test, as balance is about this sample.
    """

    question: ClassVar[str] = "Are the groups alike once they are weighted?"
    shape: ClassVar[str] = "cross-section"

    def run(
        self, estimator: Estimator[CrossSection], data: CrossSection, estimate: Estimate, *, rng: Generator
    ) -> CheckResult | None:
        """Compare the means of every covariate."""
        found = comparison(estimator, data)
        if found is None:
            return None
        data = found.data
        conclude = partial(CheckResult, name="covariate-balance", question=self.question, threshold=_ALIKE)
        before = standardized_differences(data.covariates, found.treated, found.sample.weights)
        after = standardized_differences(data.covariates, found.treated, found.weights)
        varying = np.flatnonzero(np.isfinite(before))
        if not len(varying):
            return conclude(
                verdict="not_evaluable",
                reason="There is no covariate that varies.",
                remedy="Name what was known about the units before the treatment.",
            )
        order = varying[np.argsort(-np.abs(before[varying]), kind="stable")]
        rows: list[dict[str, Any]] = [
            {"name": data.names[j], "before": float(before[j]), "after": float(after[j])} for j in order.tolist()
        ]
        worst = max(rows, key=lambda row: abs(row["after"]))
        apart = sum(abs(row["after"]) > _ALIKE for row in rows)
        verdict: Verdict = "fail" if abs(worst["after"]) > _APART else "review" if apart else "pass"
        reason = (
            f"{apart} of {counted(len(rows), 'covariate')} differ by more than {_ALIKE} standard deviations after weighting, "
            f"{sum(abs(row['before']) > _ALIKE for row in rows)} before. The largest difference left is "
            f"{worst['after']:.2f}, of {worst['name']}."
        )
        return conclude(
            verdict=verdict,
            reason=reason,
            remedy=""
            if verdict == "pass"
            else f"Let {worst['name']} enter more flexibly, or compare with other units.",
            statistic=abs(worst["after"]),
            table={"covariates": rows},
        )


def standardized_differences(covariates: FloatArray, treated: BoolArray, weights: FloatArray) -> FloatArray:
    """Return standardized differences of weighted means, shape (k,); NaN for what doesn't vary within an arm."""
    arms = [covariates[treated], covariates[~treated]]
    spread = np.sqrt(sum(arm.var(axis=0) for arm in arms) / 2)
    spread = np.where(spread > 1e-12 * np.abs(covariates).max(axis=0, initial=0.0), spread, np.nan)
    means = [
        np.average(arm, axis=0, weights=w) for arm, w in zip(arms, (weights[treated], weights[~treated]), strict=True)
    ]
    result: FloatArray = (means[0] - means[1]) / spread
    return result
