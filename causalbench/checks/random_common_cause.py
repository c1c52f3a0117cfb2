"""Does a covariate of pure noise leave the effect where it is?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.random import Generator

from causalbench.checks._comparison import comparison
from causalbench.data.cross_section import CrossSection
from causalbench.numerics.one_step import Versions, effects
from causalbench.protocols import Estimator
from causalbench.values import CheckResult, Estimate, Verdict
from causalbench.wording import number, percent

_LITTLE = 0.25
_MUCH = 1.0
_SHARE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomCommonCause:
    r"""How far the effect moves when a random covariate is added, over many such covariates.

    A covariate that is independent of everything moves the effect by the product of two chance correlations, of order
    :math:`\text{se} / \sqrt n`, and in either direction alike. So the distribution of moves is simulated, and its 95% quantile
    held against the standard error: up to a quarter of it passes, a convention; all of it fails. Larger moves mean that the
    fit has too few units for its covariates, or that a handful of units carry it. Not a test, and no proof of anything about
    confounders: noise isn't one.

    Estimates are those of the method with linear nuisances, by Newton steps, and for matching those of regression by arm; see
    :mod:`causalbench.numerics.one_step`.

    Attributes
    ----------
    draws
        Number of random covariates.
    """

    question: ClassVar[str] = "Does a covariate of pure noise leave the effect where it is?"
    shape: ClassVar[str] = "cross-section"

    draws: int = 200

    def run(
        self, estimator: Estimator[CrossSection], data: CrossSection, estimate: Estimate, *, rng: Generator
    ) -> CheckResult | None:
        """Add noise, and see."""
        found = comparison(estimator, data)
        if found is None:
            return None
        data = found.data
        noise = rng.standard_normal((self.draws, len(data.outcome)))
        noise = (noise - noise.mean(axis=1, keepdims=True)) / noise.std(axis=1, keepdims=True)
        terms = {"form": found.form, "estimand": found.estimand}
        moved = effects(found.sample, Versions(extra=noise), form=found.form, estimand=found.estimand)[:, 0]
        actual = effects(
            found.sample, Versions(weights=np.ones((1, len(data.outcome)))), form=found.form, estimand=found.estimand
        )[0]
        moves, error = moved - actual[0], estimate.std_error or float(actual[1])
        largest = float(np.quantile(np.abs(moves), _SHARE))
        share = largest / error if error > 0 else np.inf
        verdict: Verdict = "pass" if share <= _LITTLE else "review" if share < _MUCH else "fail"
        return CheckResult(
            name="random-common-cause",
            question=self.question,
            verdict=verdict,
            reason=f"A random covariate moves it by at most {number(largest)} in {percent(_SHARE)} of {self.draws} times, "
            f"{percent(share)} of its standard error.{found.stand_in}",
            remedy=""
            if verdict == "pass"
            else "The fit hangs on few units: look at overlap, and at the number of covariates.",
            statistic=share,
            threshold=_LITTLE,
            table={
                **terms,
                "n_draws": self.draws,
                "mean": float(moves.mean()),
                "sd": float(moves.std(ddof=1)),
                "std_error": error,
            },
        )
