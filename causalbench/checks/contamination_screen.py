"""Did a donor react at the launch date itself?"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator

from causalbench.checks._donors import gross_shares, some_donors
from causalbench.checks._event_times import HALF, SIZE
from causalbench.data.panel import Panel
from causalbench.numerics.reactions import FEWEST_PERIODS, FEWEST_SERIES, Reactions, find_reactions
from causalbench.protocols import Estimator
from causalbench.values import CheckResult, Estimate, FloatArray, IntArray
from causalbench.wording import number

_TOO_MUCH = 0.3
_MOST = 200
"""Donors that are screened at most: the heaviest, and others drawn at random."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContaminationScreen:
    """Every donor's own gap at the launch date against the other donors; the treated units play no part.

    A donor is a suspect when its mean gap from the launch on is too large for its own history and among the other donors,
    at a size of 5% corrected for their number (see ``numerics/reactions.py``). Suspects with more than 30% of the absolute
    weight fail, with less ask for review, and the effect without them is told. The 30% are a convention. Where even the
    reaction that would just go unnoticed could, through a donor's weight (1 where the method states none), make up half of
    the effect, the screen can't tell. For a method with regression coefficients instead of weights, the mean of a donor's
    coefficient takes the weight's place. Simulated with 30 donors, 180 days before the launch and 14 after it, the screen
    names a donor in 2.2% of clean panels (2,000 draws, Monte Carlo error 0.3), and in up to 6% with a short history, very
    persistent noise, or tails as heavy as Student's t with 3 degrees of freedom. Two donors that react by 4, 5 or 6% of
    their level, where the noise of a day is 1% of it, are both named in 91, 99 and 99.7% (1,000 draws). Methods that compare
    changes (with an event study) have tests of their own.
    """

    question: ClassVar[str] = "Did a donor react at the launch date itself?"

    def run(
        self, estimator: Estimator[Panel], data: Panel, estimate: Estimate, *, rng: Generator
    ) -> CheckResult | None:
        """Screen the donors, and fit again without the suspects."""
        if estimate.event_study is not None or len(data.cohorts) != 1:
            return None
        conclude = partial(CheckResult, name="contamination-screen", question=self.question, threshold=SIZE)
        known = _weights(estimate)
        shares = gross_shares(known or {})
        donors = some_donors(data, _moving(data), shares, most=_MOST, rng=rng)
        series = data.outcome[donors]
        problem = _problem(series, data.n_pre)
        if problem:
            return conclude(verdict="not_evaluable", reason=problem, remedy="Ask each heavy donor what happened there.")
        found = find_reactions(series, data.n_pre, size=SIZE)
        names = [data.units[i] for i in donors]
        suspects = [names[i] for i in np.argsort(-np.abs(found.z), kind="stable") if found.suspect[i]]
        on_suspects = sum(shares.get(name, 0.0) for name in suspects)
        conclude = partial(conclude, statistic=float(found.p_value.min()))
        table = _table(names, found, shares, suspects)
        if not suspects:
            return _nothing(conclude, names, found, known, estimate, table)
        without = _effect_without(estimator, data, suspects)
        moved = "" if without is None else f" Without {_them(suspects)} the effect would be {number(without)}"
        moved += "" if without is None else f" instead of {number(estimate.value)}."
        weight = f", with {on_suspects:.0%} of the weight" if known is not None else ""
        harmless = known is not None and not on_suspects
        told = [
            f"{name} by {number(found.gap[names.index(name)], sign=True)} {estimate.metric}" for name in suspects[:5]
        ]
        more = f" and {len(suspects) - 5} more" if len(suspects) > 5 else ""
        return conclude(
            verdict="pass" if harmless else "fail" if on_suspects > _TOO_MUCH else "review",
            reason=f"Of {len(names)} donors, {len(suspects)} moved at the launch more than chance allows: "
            f"{', '.join(told)}{more}{weight}.{moved}",
            remedy=""
            if harmless
            else f"Ask whether the launch or something else reached {_them(suspects)}; if so, leave out by the option "
            f"exclude = {json.dumps(suspects)}.",
            table=table | {"weight_on_suspects": on_suspects, "effect_without": without},
        )


def _weights(estimate: Estimate) -> Mapping[str, float] | None:
    """Return by how much a donor's reaction moves the path without the launch: weights, or mean coefficients."""
    found: Mapping[str, float] | None = estimate.weights or estimate.detail.get("coefficients")
    return found


def _them(suspects: Sequence[str]) -> str:
    return suspects[0] if len(suspects) == 1 else "them"


def _moving(data: Panel) -> IntArray:
    """Return the rows of the donors that move before the launch."""
    moving = np.nan_to_num(np.ptp(data.outcome[:, : data.n_pre], axis=1), nan=1.0) > 0
    rows: IntArray = np.flatnonzero(~data.ever_treated & moving)
    return rows


def _problem(series: FloatArray, n_pre: int) -> str:
    if np.isnan(series).any():
        return "Some donors have missing cells, so their gaps can't be compared."
    if len(series) < FEWEST_SERIES or n_pre < FEWEST_PERIODS:
        return (
            f"{len(series)} donors and {n_pre} periods before the launch are too few to tell a reaction from chance: "
            f"{FEWEST_SERIES} and {FEWEST_PERIODS} are needed."
        )
    return ""


def _effect_without(estimator: Estimator[Panel], data: Panel, suspects: Sequence[str]) -> float | None:
    """Fit again without the suspects, where enough donors are left."""
    if len(data.donor_pool) - len(suspects) < max(estimator.requires.min_control, 2):
        return None
    return estimator.fit(data.only(units=~np.isin(data.units, suspects))).effect


def _table(names: list[str], found: Reactions, shares: dict[str, float], suspects: list[str]) -> dict[str, Any]:
    order = np.argsort(-np.abs(found.z), kind="stable")
    return {
        "units": [names[i] for i in order],
        "gaps": found.gap[order],
        "z": found.z[order],
        "p_values": found.p_value[order],
        "limits": found.limit[order],
        "weights": [shares.get(names[i], 0.0) for i in order],
        "suspects": suspects,
    }


def _nothing(
    conclude: partial[CheckResult],
    names: list[str],
    found: Reactions,
    known: Mapping[str, float] | None,
    estimate: Estimate,
    table: dict[str, Any],
) -> CheckResult:
    """Conclude where no donor is a suspect: what the screen would have noticed."""
    unnoticed = float(np.median(found.limit))
    most_unusual = int(np.argmax(np.abs(found.z)))
    reason = (
        f"None of {len(names)} donors moves at the launch more than chance allows; the most unusual is {names[most_unusual]} "
        f"(p = {found.p_value[most_unusual]:.2g} after correction for their number). A donor's reaction of less than about "
        f"{number(unnoticed, digits=2)} {estimate.metric} would go unnoticed."
    )
    weights = [1.0 if known is None else abs(known.get(name, 0.0)) for name in names]
    most = max(weight * limit for weight, limit in zip(weights, found.limit, strict=True))
    if most <= HALF * abs(estimate.value):
        return conclude(verdict="pass", reason=reason, table=table)
    own = "its coefficient" if estimate.weights is None else "its weight"
    through = own if known is not None else "a weight of 1 (this method states none)"
    could = f"Through {through} one could move the effect by {number(most, digits=2)}, beside an estimate of "
    return conclude(
        verdict="not_evaluable",
        reason=f"{reason} {could}{number(estimate.value)}: the screen can't tell.",
        remedy="Ask each heavy donor what happened there."
        if known is not None
        else "Ask what happened to the donors then.",
        table=table,
    )
