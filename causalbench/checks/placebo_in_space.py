"""Do units that got nothing show gaps as large?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, cast

import numpy as np
from numpy.random import Generator

from causalbench.data.panel import Panel
from causalbench.protocols import Estimator, FitsMany
from causalbench.values import CheckResult, Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceboInSpace:
    """The method applied to every control unit by itself, with the other controls as donors.

    Counts the controls whose RMSPE after the launch, relative to that before, is at least the treated units' (Abadie,
    Diamond, Hainmueller 2010, section 3.4). It is a picture beside the stated inference, not a second p-value: a mean
    of several treated units is smoother than a single control.
    """

    question: ClassVar[str] = "Do units that got nothing show gaps as large?"
    applies_to: ClassVar[tuple[str, ...]] = ("did", "synthetic-control")

    def run(self, estimator: Estimator[Panel], data: Panel, estimate: Estimate, *, rng: Generator) -> CheckResult:
        """Fit every control unit as if it had been treated."""
        pre, n = data.n_pre, len(data.donor_pool)
        conclude = partial(CheckResult, name="placebo-in-space", question=self.question)
        if n < 3:
            reason = f"{n} control units are too few for placebos."
            return conclude(verdict="not_evaluable", reason=reason, remedy="Add control units.")
        each = np.eye(n, dtype=bool)
        controls = data.only(units=~data.ever_treated).assigned_to(each[0], start=pre)
        gaps = np.array([fit.path.effect for fit in cast(FitsMany[Panel], estimator).fit_many(controls, each)])
        own = _ratio(estimate.path.effect, pre)
        ratios = np.array([_ratio(gap, pre) for gap in gaps])
        larger = int((ratios >= own).sum())
        allowed = 1 - estimate.interval.level if estimate.interval else 0.1
        unusual = larger / n <= allowed
        reason = (
            f"{larger} of {n} control units show a gap after the launch at least as large relative to the gap before."
        )
        order = np.argsort(-ratios, kind="stable")
        return conclude(
            verdict="pass" if unusual else "review",
            reason=reason,
            remedy=""
            if unusual
            else "Gaps of this size also come about by chance here; don't lean on the point estimate.",
            statistic=larger / n,
            threshold=allowed,
            table={
                "units": [controls.units[i] for i in order],
                "ratios": ratios[order],
                "gaps": gaps[order],
                "own_ratio": own,
            },
        )


def _ratio(gap: np.ndarray[tuple[int], np.dtype[np.float64]], pre: int) -> float:
    before, after = float((gap[:pre] ** 2).mean()), float((gap[pre:] ** 2).mean())
    return math.sqrt(after / before) if before > 0 else math.inf
