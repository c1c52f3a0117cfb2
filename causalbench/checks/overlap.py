"""Is there somebody to compare with?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator

from causalbench.checks._comparison import Comparison, comparison, effective_size
from causalbench.data.cross_section import CrossSection
from causalbench.protocols import Estimator
from causalbench.values import BoolArray, CheckResult, Estimate, FloatArray, Verdict
from causalbench.wording import counted, percent

_FEWEST = 30
_EXTREME = 0.95
_MOST_EXTREME = 0.01
_LARGEST = 0.1
_MOST_OUTSIDE = 0.5
_ROUNDING = 1e-9
_N_BINS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    r"""How alike the arms are in their probability of treatment, and how many units the comparison rests on.

    The effective number of units is :math:`(\sum w)^2 / \sum w^2` over the weights that make an arm look like the treated (ATT)
    or like everybody (ATE): how often each is matched, or inverse probability weights by the estimator's learner, a logit as a
    rule. Conventions: fewer than 30 effective units that are also fewer than half of the arm fail, and so does a comparison
    where more than half of the units that the effect is about have a probability that lies outside the other arm's range
    (weights of one in both arms look sound where covariates separate them); fewer than 30 in all, more than 1% of the units
    that the effect is about with a probability beyond .95 (for the ATE also below .05), or a unit with a tenth of its arm's
    weight ask for review (Crump, Hotz, Imbens, Mitnik 2009, https://doi.org/10.1093/biomet/asn055, drop units beyond .9).
    """

    question: ClassVar[str] = "Is there somebody to compare with?"
    shape: ClassVar[str] = "cross-section"

    def run(
        self, estimator: Estimator[CrossSection], data: CrossSection, estimate: Estimate, *, rng: Generator
    ) -> CheckResult | None:
        """Weigh the arms and count."""
        found = comparison(estimator, data)
        if found is None:
            return None
        table = _table(found)
        arms = ("control",) if found.estimand == "att" else ("control", "treated")
        verdict, reason = _judge(table, arms, found.estimand)
        return CheckResult(
            name="overlap",
            question=self.question,
            verdict=verdict,
            reason=reason,
            remedy=""
            if verdict == "pass"
            else "Compare with units that could have taken the treatment: restrict the sample before looking at outcomes, "
            "or trim and say for whom the effect then is.",
            statistic=min(table[f"ess_{arm}"] for arm in arms),
            threshold=_FEWEST,
            table=table,
        )


def _table(found: Comparison) -> dict[str, Any]:
    p, treated, base = found.propensity, found.treated, found.sample.weights
    edges = np.linspace(0, 1, _N_BINS + 1)
    share = partial(np.histogram, bins=edges)
    about = treated if found.estimand == "att" else np.ones(len(p), dtype=bool)
    extreme = (p > _EXTREME) | ((p < 1 - _EXTREME) & (found.estimand == "ate"))
    table: dict[str, Any] = {
        "estimand": found.estimand,
        "edges": edges.round(6).tolist(),
        "share_extreme": float(base[about & extreme].sum() / base[about].sum()),
        "share_outside": float(base[about & _outside(p, treated)].sum() / base[about].sum()),
        "below_01": float((p[~treated] < 0.01).mean()),
    }
    for arm, rows in (("treated", treated), ("control", ~treated)):
        weights = found.weights[rows]
        table |= {
            f"n_{arm}": int(rows.sum()),
            f"ess_{arm}": effective_size(weights),
            f"largest_{arm}": float(weights.max() / weights.sum()),
            f"shares_{arm}": (share(p[rows])[0] / rows.sum()).tolist(),
            f"weighted_{arm}": (share(p[rows], weights=weights)[0] / weights.sum()).tolist(),
            f"quantiles_{arm}": np.quantile(p[rows], [0, 0.05, 0.5, 0.95, 1]).tolist(),
        }
    return table


def _outside(propensity: FloatArray, treated: BoolArray) -> BoolArray:
    """Tell whose probability of treatment lies outside the other arm's range, shape (n,)."""
    found = np.zeros(len(propensity), dtype=bool)
    for arm in (treated, ~treated):
        low, high = propensity[~arm].min() - _ROUNDING, propensity[~arm].max() + _ROUNDING
        found[arm] = (propensity[arm] < low) | (propensity[arm] > high)
    return found


def _judge(table: dict[str, Any], arms: tuple[str, ...], estimand: str) -> tuple[Verdict, str]:
    verdict: Verdict = "pass"
    words = {"control": "controls", "treated": "treated"}
    sizes = " and ".join(f"{table[f'ess_{arm}']:.1f} of {table[f'n_{arm}']:,} {words[arm]}" for arm in arms)
    whom = "the treated" if estimand == "att" else "everybody"
    reason = f"Weighted to be like {whom}, the comparison rests on an effective {sizes}."
    few = [arm for arm in arms if table[f"ess_{arm}"] < _FEWEST]
    heavy = [arm for arm in arms if table[f"largest_{arm}"] > _LARGEST]
    if few or heavy or table["share_extreme"] > _MOST_EXTREME:
        verdict = "review"
    apart = table["share_outside"] > _MOST_OUTSIDE
    if apart or any(table[f"ess_{arm}"] < table[f"n_{arm}"] / 2 for arm in few):
        verdict = "fail"
    if heavy:
        reason += f" One {heavy[0]} unit carries {percent(table[f'largest_{heavy[0]}'])} of that weight."
    if table["share_extreme"] > 0:
        beyond = f"beyond {_EXTREME}" if estimand == "att" else f"below {1 - _EXTREME:.2f} or beyond {_EXTREME}"
        reason += f" {percent(table['share_extreme'])} of {whom} have a probability of treatment {beyond}."
    if apart:
        reason += f" For {percent(table['share_outside'])} of {whom} nobody in the other group comes near."
    if few:
        reason += f" Fewer than {counted(_FEWEST, 'effective unit')} can't stand for a group."
    return verdict, reason
