"""Do random parts of the data tell the same story?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
from numpy.random import Generator
from scipy import special

from causalbench.checks._comparison import Comparison, comparison
from causalbench.data.cross_section import CrossSection
from causalbench.numerics.one_step import Versions, effects
from causalbench.protocols import Estimator
from causalbench.values import CheckResult, Estimate, FloatArray, Verdict
from causalbench.wording import number

_SHARE = 0.8
_TOLERATED = 1.25
_MUCH = 1.5
_SIZE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSubset:
    r"""Estimates in random subsets of 80% of the units (of the clusters, where there are any), drawn without replacement.

    If the standard error is right, a subset's estimate differs from that of all units with variance
    :math:`\frac{1 - f}{f} \widehat{se}^2` at a share :math:`f`: half the standard error for 80%. The test asks whether the
    spread over subsets is more than 1.25 times that: it rejects where :math:`\sum_b (\hat\tau_b - \bar\tau)^2` over
    :math:`1.25^2 \frac{1 - f}{f} \widehat{se}^2` lies beyond the 95% quantile of a chi-squared with :math:`B - 1` degrees of
    freedom. The margin is a convention: large-sample errors of sound data with 60 clusters are up to a
    quarter too small. Rejection asks for review, and a spread beyond 1.5
    times fails. A larger spread means that the error is too small or the estimate unstable.

    Estimates are those of the method with linear nuisances, by Newton steps; see :mod:`causalbench.numerics.one_step`. Matching
    can't be asked: regressions, which would stand in for it, have another error.

    Attributes
    ----------
    draws
        Number of subsets.
    """

    question: ClassVar[str] = "Do random parts of the data tell the same story?"
    shape: ClassVar[str] = "cross-section"

    draws: int = 200

    def run(
        self, estimator: Estimator[CrossSection], data: CrossSection, estimate: Estimate, *, rng: Generator
    ) -> CheckResult | None:
        """Draw subsets and compare their spread with what is due."""
        found = comparison(estimator, data)
        if found is None:
            return None
        conclude = partial(CheckResult, name="data-subset", question=self.question, threshold=_TOLERATED)
        if found.method == "matching":
            return conclude(
                verdict="not_evaluable",
                reason="Subsets are refitted by regression, whose spread says nothing about the error of matching.",
                remedy='Compare with method = "aipw".',
            )
        if not estimate.std_error:
            return conclude(verdict="not_evaluable", reason="The inference gives no standard error to compare with.")
        masks, share = subsets(found, self.draws, rng)
        if not masks[:, found.treated].any(axis=1).all() or not masks[:, ~found.treated].any(axis=1).all():
            return conclude(
                verdict="not_evaluable", reason="An arm is so small that subsets miss it.", remedy="Add units."
            )
        results = effects(found.sample, Versions(weights=masks), form=found.form, estimand=found.estimand)[:, 0]
        due = np.sqrt((1 - share) / share) * estimate.std_error
        ratio = float(results.std(ddof=1) / due)
        bound = float(np.sqrt(special.chdtri(self.draws - 1, _SIZE) / (self.draws - 1))) * _TOLERATED
        verdict: Verdict = "pass" if ratio <= bound else "review" if ratio < _MUCH else "fail"
        low, high = np.quantile(results, [0.025, 0.975])
        return conclude(
            verdict=verdict,
            reason=f"In {self.draws} random subsets of {100 * share:.0f}% the effect lies between {number(low)} and "
            f"{number(high)} in 95% of them; its spread is {ratio:.2f} times what the standard error leads to expect."
            f"{found.stand_in}",
            remedy=""
            if verdict == "pass"
            else "Errors are larger than stated: use a bootstrap, look at outliers and overlap.",
            statistic=ratio,
            table={
                "n_draws": self.draws,
                "share": share,
                "mean": float(results.mean()),
                "sd": float(results.std(ddof=1)),
                "sd_due": float(due),
                "bound": bound,
                "effects": results.tolist(),
            },
        )


def subsets(found: Comparison, draws: int, rng: Generator) -> tuple[FloatArray, float]:
    """Return random subsets as weights of 0 and 1, shape (draws, n), and the share of units or clusters in each."""
    codes = found.sample.codes
    n = len(found.sample.outcome) if codes is None else int(codes.max()) + 1
    kept = int(_SHARE * n)
    ranks = np.argpartition(rng.random((draws, n)), kept - 1, axis=1)[:, :kept]
    masks = np.zeros((draws, n))
    np.put_along_axis(masks, ranks, 1.0, axis=1)
    return masks if codes is None else masks[:, codes], kept / n
