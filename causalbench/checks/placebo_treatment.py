"""Does the method stay silent about treatments that were drawn by lot?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator
from scipy import special, stats

from causalbench.checks._comparison import Comparison, comparison, level_of
from causalbench.data.cross_section import CrossSection
from causalbench.numerics.one_step import Versions, effects
from causalbench.protocols import Estimator
from causalbench.values import CheckResult, Estimate, FloatArray, Verdict
from causalbench.wording import percent

_SIZE = 0.025
_TOLERATED = 1.5
_MUCH = 0.15
_NO_SPREAD = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceboTreatment:
    r"""The method on treatments that are permuted over the units, where there is no effect and no confounding.

    Two tests, each at 2.5%: the mean effect over permutations is zero, within :math:`2.24 / \sqrt B` of their standard
    deviation, and the share of them that rejects is at most 1.5 times what the level of the estimate says (binomial); that
    margin, 7.5% for 5%, is a convention: large-sample errors of sound data with few units or clusters need it. Failing the
    second means that errors are too small for data like these: heavy tails, few units in an arm, clusters. It asks for
    review then, and fails where 15% or more reject. Where there are clusters, whole clusters take each other's treatments
    among those of equal size, which keeps the treatment's dependence; otherwise units do. Also told is the place of the
    actual t statistic among them.

    Estimates are those of the method with linear nuisances, by Newton steps, not of the learner itself, and for matching those
    of regression by arm; see :mod:`causalbench.numerics.one_step`.

    Attributes
    ----------
    draws
        Number of permutations.
    """

    question: ClassVar[str] = "Does the method stay silent about treatments that were drawn by lot?"
    shape: ClassVar[str] = "cross-section"

    draws: int = 200

    def run(
        self, estimator: Estimator[CrossSection], data: CrossSection, estimate: Estimate, *, rng: Generator
    ) -> CheckResult | None:
        """Permute, estimate and count."""
        found = comparison(estimator, data)
        if found is None:
            return None
        data = found.data
        conclude = partial(CheckResult, name="placebo-treatment", question=self.question)
        permuted = permuted_treatments(found, self.draws, rng)
        if permuted is None:
            return conclude(
                verdict="not_evaluable",
                reason="No two clusters of equal size differ in their treatments, so there is nothing to permute.",
                remedy="Look at the other checks.",
            )
        results = effects(found.sample, Versions(treatment=permuted), form=found.form, estimand=found.estimand)
        actual = effects(
            found.sample, Versions(weights=np.ones((1, len(data.outcome)))), form=found.form, estimand=found.estimand
        )[0]
        nothing = _NO_SPREAD * float(np.abs(found.sample.outcome).max())
        if not min(results[:, 1].min(), actual[1]) > nothing:
            return conclude(
                verdict="not_evaluable", reason="The outcome doesn't vary once treatment and covariates are known."
            )
        table = _table(results, actual, level=level_of(estimate))
        verdict, reason = _judge(table)
        return conclude(
            verdict=verdict,
            reason=reason + found.stand_in,
            remedy=""
            if verdict == "pass"
            else "Don't lean on this standard error: look at outliers, small arms and clusters.",
            statistic=table["share_rejecting"],
            threshold=1 - table["level"],
            table=table,
        )


def permuted_treatments(found: Comparison, draws: int, rng: Generator) -> FloatArray | None:
    """Return permuted treatments, shape (draws, n): of units, or of clusters of equal size; None where nothing can move."""
    treatment, codes = found.sample.treatment, found.sample.codes
    if codes is None:
        return np.array([rng.permutation(treatment) for _ in range(draws)])
    members = [np.flatnonzero(codes == code) for code in range(int(codes.max()) + 1)]
    by_size: dict[int, list[int]] = {}
    for code, rows in enumerate(members):
        by_size.setdefault(len(rows), []).append(code)
    stacks = [np.array([members[code] for code in group]) for group in by_size.values()]
    if not any((treatment[stack] != treatment[stack][0]).any() for stack in stacks):
        return None
    result = np.repeat(treatment[None], draws, axis=0)
    for row in result:
        for stack in stacks:
            row[stack] = treatment[stack][rng.permutation(len(stack))]
    return result


def _table(results: FloatArray, actual: FloatArray, *, level: float) -> dict[str, Any]:
    draws, t_values = len(results), results[:, 0] / results[:, 1]
    rejecting = int((np.abs(t_values) > special.ndtri(1 - (1 - level) / 2)).sum())
    centre = float(results[:, 0].mean() / (results[:, 0].std(ddof=1) / np.sqrt(draws)))
    return {
        "level": level,
        "n_draws": draws,
        "mean": float(results[:, 0].mean()),
        "sd": float(results[:, 0].std(ddof=1)),
        "centre_p_value": float(2 * special.ndtr(-abs(centre))),
        "share_rejecting": rejecting / draws,
        "share_p_value": float(stats.binom.sf(rejecting - 1, draws, min(_TOLERATED * (1 - level), 1.0))),
        "place": float((1 + (np.abs(t_values) >= abs(actual[0] / actual[1])).sum()) / (draws + 1)),
        "effects": results[:, 0].tolist(),
    }


def _judge(table: dict[str, Any]) -> tuple[Verdict, str]:
    off_centre, too_many = table["centre_p_value"] <= _SIZE, table["share_p_value"] <= _SIZE
    verdict: Verdict = "pass"
    if off_centre or too_many:
        verdict = "fail" if too_many and table["share_rejecting"] >= _MUCH else "review"
    reason = (
        f"Over {table['n_draws']} permuted treatments it finds an effect in {percent(table['share_rejecting'])}, where "
        f"{percent(1 - table['level'])} are due"
    )
    reason += "; their mean isn't zero." if off_centre else "."
    beyond = round(table["place"] * (table["n_draws"] + 1)) - 1
    reason += f" {beyond or 'None'} of them {'is' if beyond == 1 else 'are'} as far from zero as the actual one."
    return verdict, reason
