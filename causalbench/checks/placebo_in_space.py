"""Do units that got nothing show gaps as large?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
from numpy.random import Generator

from causalbench.data.panel import Panel
from causalbench.errors import RefusalError
from causalbench.numerics.gaps import rmspe_ratio
from causalbench.protocols import FEW_CLUSTERS, Estimator, FitsMany
from causalbench.values import CheckResult, Estimate
from causalbench.wording import counted

_MOST = 1_000
"""Control units that are tried at most; of more, so many are drawn and serve as each other's donors."""

_DRAWN = 100
"""Gaps kept for the picture: all of them, or every second, third, ... by rank."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceboInSpace:
    """The method applied to every control unit by itself, with the other controls as donors.

    The share, the treated counted in, of units whose RMSPE after the launch, relative to that before, is at least the
    treated units' (Abadie, Diamond, Hainmueller 2010, section 3.4). It is a picture beside the stated inference, not a
    second p-value: a mean of several treated units is smoother than a single control. So it isn't asked of methods with
    an event study from five treated units up, nor with several launch dates. Of more than a thousand control units a
    thousand are drawn.
    """

    question: ClassVar[str] = "Do units that got nothing show gaps as large?"

    def run(
        self, estimator: Estimator[Panel], data: Panel, estimate: Estimate, *, rng: Generator
    ) -> CheckResult | None:
        """Fit every control unit as if it had been treated."""
        pre, n_controls = data.n_pre, len(data.donor_pool)
        n = min(n_controls, _MOST)
        conclude = partial(CheckResult, name="placebo-in-space", question=self.question)
        many = estimate.event_study is not None and data.n_treated_clusters >= FEW_CLUSTERS
        if not isinstance(estimator, FitsMany) or many or len(data.cohorts) > 1:
            return None
        if n < 3:
            reason = f"{counted(n, 'control unit')} {'is' if n == 1 else 'are'} too few for placebos."
            return conclude(verdict="not_evaluable", reason=reason, remedy="Add control units.")
        if not np.isfinite(estimate.path.effect).all():
            reason = "In some periods the treated units' gap has no value, so it can't be ranked among placebos."
            return conclude(verdict="not_evaluable", reason=reason, remedy="Look at the effect by period.")
        controls = _some(data, n, rng)
        try:
            fits = list(estimator.fit_many(controls, np.where(np.eye(n, dtype=bool), pre, len(data.periods))))
        except RefusalError as refusal:
            reason = f"The method can't be applied to control units here: {refusal.message}."
            return conclude(verdict="not_evaluable", reason=reason, remedy="Look at the other checks.")
        own = rmspe_ratio(estimate.path.effect, pre, spread=float(estimate.path.observed.std()))
        ratios = [rmspe_ratio(fit.path.effect, pre, spread=float(fit.path.observed.std())) for fit in fits]
        defined = sorted(
            (i for i in range(n) if ratios[i] is not None), key=lambda i: (-(ratios[i] or 0.0), controls.units[i])
        )
        table = {
            "units": [controls.units[i] for i in defined],
            "ratios": [ratios[i] for i in defined],
            "gaps": [fits[i].path.effect for i in defined[:: math.ceil(len(defined) / _DRAWN) or 1]],
            "own_ratio": own,
            "n_perfect": n - len(defined),
        }
        allowed = 1 - estimate.interval.level if estimate.interval else 0.1
        if own is None or len(defined) < 3:
            reason = "Before the launch there is no gap to compare with (a perfect fit, or one period)."
            return conclude(verdict="not_evaluable", reason=reason, remedy="Add history.", table=table)
        larger = sum((ratios[i] or 0.0) >= own for i in defined)
        share, least = (larger + 1) / (len(defined) + 1), 1 / (len(defined) + 1)
        reason = (
            f"{larger} of {len(defined)} control units {'shows' if larger == 1 else 'show'} a gap after the launch at least "
            "as large relative to the gap before."
        )
        if n < n_controls:
            reason += f" Of {n_controls:,} control units {n:,} are drawn, and compared with each other."
        if least > allowed:
            reason += f" With so few, even none would be no evidence at {allowed:.3g}."
            return conclude(
                verdict="not_evaluable", reason=reason, remedy="Add control units.", statistic=share, table=table
            )
        unusual = share <= allowed
        return conclude(
            verdict="pass" if unusual else "review",
            reason=reason,
            remedy=""
            if unusual
            else "Gaps of this size also come about by chance here; don't lean on the point estimate.",
            statistic=share,
            threshold=allowed,
            table={**table, "n_larger": larger},
        )


def _some(data: Panel, n: int, rng: Generator) -> Panel:
    """Return the panel of the control units, or of so many of them drawn at random."""
    controls = np.flatnonzero(~data.ever_treated)
    chosen = np.zeros(len(data.units), dtype=bool)
    chosen[controls if n == len(controls) else rng.choice(controls, size=n, replace=False)] = True
    return data.only(units=chosen)
