"""How wrong may the odds of treatment be before the effect is gone?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator

from causalbench.checks._comparison import SHARE_OF_ODDS, Comparison, comparison, level_of
from causalbench.data.cross_section import CrossSection
from causalbench.numerics.marginal_sensitivity import Arm, largest_strength, quantile_regression, sharp_upper_bound
from causalbench.numerics.one_step import Versions, version_propensities
from causalbench.protocols import Estimator
from causalbench.values import BoolArray, CheckResult, Estimate, FloatArray

_N_DRAWS = 200
_GRID = (1.0, 1.25, 1.5, 2.0, 3.0)
_MOST = 20.0
_COARSE = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class MarginalSensitivity:
    r"""Effects that remain possible if odds of treatment are off by up to a factor :math:`\Lambda`, for weighting estimators.

    Two sets of bounds, at each :math:`\Lambda` with percentile intervals over 200 bootstrap draws of the units (of the clusters,
    where there are any): those of Zhao, Small and Bhattacharya (2019), and the sharp ones of Dorn and Guo (2023), which use
    that weights must reproduce the covariates and are never wider up to the draws. Reported is the smallest :math:`\Lambda` at
    which the interval reaches zero, the sharp one to 2%.

    Draws reweight units by independent exponentials and move the logit of the probability of treatment by Newton steps. With
    outcome regressions (``aipw``, ``dr-did``) the bounds are those of the residuals, and the regressions, linear here, are held
    fixed over draws. It passes where zero is reached, by the larger of the two, only beyond what leaving out the strongest
    covariate does to the odds for 95% of the units, and asks for review otherwise.
    """

    question: ClassVar[str] = "How wrong may the odds of treatment be before the effect is gone?"
    shape: ClassVar[str] = "cross-section"

    def run(
        self, estimator: Estimator[CrossSection], data: CrossSection, estimate: Estimate, *, rng: Generator
    ) -> CheckResult | None:
        """Bound the effect on a grid, and find where zero is reached."""
        found = comparison(estimator, data)
        if found is None or found.form in ("regression", "common"):
            return None
        conclude = partial(CheckResult, name="marginal-sensitivity", question=self.question)
        level = level_of(estimate)
        bounds = _Bounds.of(found, rng)
        table = _table(bounds, found, level=level)
        if table["strength"] is None:
            return conclude(
                verdict="not_evaluable",
                reason="The interval holds zero even with the odds of treatment as they are estimated."
                + found.stand_in,
                remedy="There is no finding that a confounder could overturn.",
                table=table,
            )
        strengths = found.strengths()
        name, strength = next(iter(strengths.items()), ("", 1.0))
        table["strengths"] = strengths
        reached = max(table["strength"], table["strength_sharp"] or 1.0)
        reason = (
            f"The interval reaches zero once the odds of treatment may be off {_times(table['strength'])} "
            f"(Zhao, Small, Bhattacharya), {_times(table['strength_sharp'])} by the sharp bounds (Dorn, Guo)."
        )
        if name:
            reason += f" Leaving out {name} moves them {strength:.2f} times or less for {100 * SHARE_OF_ODDS:g}% of the units."
        enough = reached >= strength
        return conclude(
            verdict="pass" if enough else "review",
            reason=reason + found.stand_in,
            remedy="" if enough else "Ask what as strong as that wasn't measured, and say so beside the effect.",
            statistic=reached,
            threshold=strength,
            table=table,
        )


def _times(strength: float | None) -> str:
    if strength is None:
        return "not at all"
    return f"{'more than ' if strength >= _MOST else ''}{strength:.2f} times"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Side:
    """One arm's residuals with the parts of their weights; the first draw is the data itself."""

    rest: FloatArray
    design: FloatArray
    variable: FloatArray
    arm: Arm

    @classmethod
    def of(cls, rest: FloatArray, design: FloatArray, *, fixed: FloatArray, variable: FloatArray) -> _Side:
        return cls(rest=rest, design=design, variable=variable, arm=Arm.of(rest, fixed=fixed, variable=variable))

    def sharp(self, strength: float, sign: float) -> FloatArray:
        """Return the sharp bound of the mean on one side, shape (n_draws,)."""
        y = sign * self.rest
        fitted = quantile_regression(y, self.design, weights=self.variable[0], share=strength / (strength + 1))
        bound = sharp_upper_bound(
            y,
            fitted,
            fixed=sign * self.arm.fixed,
            variable=self.variable,
            total=self.arm.total + self.arm.mass[:, -1],
            strength=strength,
        )
        return sign * bound


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Bounds:
    """The effect as a base less or plus means that are uncertain; the base has shape (n_draws,)."""

    base: FloatArray
    control: _Side
    treated: _Side | None

    @classmethod
    def of(cls, found: Comparison, rng: Generator) -> _Bounds:
        sample, treated = found.sample, found.treated
        draws = _draws(found, rng)
        p = np.clip(version_propensities(sample, Versions(weights=draws)), 1e-9, 1 - 1e-9)
        w = draws * sample.weights
        fit = {arm: _fit(found, rows) for arm, rows in ((0, ~treated), (1, treated))}
        odds = p / (1 - p)
        if found.estimand == "att":
            rest = sample.outcome - fit[0]
            base = (w[:, treated] @ rest[treated]) / w[:, treated].sum(axis=1)
            parts = (np.zeros_like(w[:, ~treated]), (w * odds)[:, ~treated])
            control = _Side.of(rest[~treated], sample.design[~treated], fixed=parts[0], variable=parts[1])
            return cls(base=base, control=control, treated=None)
        base = (w @ (fit[1] - fit[0])) / w.sum(axis=1)
        sides = [
            _Side.of((sample.outcome - fit[a])[rows], sample.design[rows], fixed=w[:, rows], variable=part[:, rows])
            for a, rows, part in ((0, ~treated, w * odds), (1, treated, w / odds))
        ]
        return cls(base=base, control=sides[0], treated=sides[1])

    def at(self, strength: float) -> tuple[FloatArray, FloatArray]:
        """Return the lowest and highest effects, shape (n_draws,)."""
        low, high = self.base - self.control.arm.highest(strength), self.base - self.control.arm.lowest(strength)
        if self.treated is None:
            return low, high
        return low + self.treated.arm.lowest(strength), high + self.treated.arm.highest(strength)

    def sharp_at(self, strength: float) -> tuple[FloatArray, FloatArray]:
        """Return the sharp lowest and highest effects, shape (n_draws,)."""
        low, high = self.base - self.control.sharp(strength, 1.0), self.base - self.control.sharp(strength, -1.0)
        if self.treated is None:
            return low, high
        return low + self.treated.sharp(strength, -1.0), high + self.treated.sharp(strength, 1.0)


def _draws(found: Comparison, rng: Generator) -> FloatArray:
    """Return bootstrap weights, shape (1 + n_draws, n); the first row is the data itself."""
    codes = found.sample.codes
    n = len(found.sample.outcome)
    if codes is None:
        return np.vstack([np.ones(n), rng.standard_exponential((_N_DRAWS, n))])
    return np.vstack([np.ones(n), rng.standard_exponential((_N_DRAWS, int(codes.max()) + 1))[:, codes]])


def _fit(found: Comparison, rows: BoolArray) -> FloatArray:
    """Return the fitted outcomes of a linear regression in an arm, zero without outcome regressions; shape (n,)."""
    sample = found.sample
    if found.form == "ipw":
        return np.zeros(len(sample.outcome))
    root = np.sqrt(sample.weights[rows])
    beta = np.linalg.lstsq(sample.design[rows] * root[:, None], sample.outcome[rows] * root, rcond=None)[0]
    fitted: FloatArray = sample.design @ beta
    return fitted


def _interval(low: FloatArray, high: FloatArray, level: float) -> tuple[float, float]:
    tail = (1 - level) / 2
    return float(np.quantile(low[1:], tail)), float(np.quantile(high[1:], 1 - tail))


def _table(bounds: _Bounds, found: Comparison, *, level: float) -> dict[str, Any]:
    rows = []
    for strength in _GRID:
        row: dict[str, Any] = {"strength": strength}
        for name, pair in (("", bounds.at(strength)), ("_sharp", bounds.sharp_at(strength))):
            lower, upper = _interval(*pair, level)
            row |= {f"lowest{name}": float(pair[0][0]), f"highest{name}": float(pair[1][0])}
            row |= {f"lower{name}": lower, f"upper{name}": upper}
        rows.append(row)
    table: dict[str, Any] = {"level": level, "estimand": found.estimand, "bounds": rows, "n_draws": _N_DRAWS}
    side = 1.0 if rows[0]["lower"] > 0 else -1.0
    if rows[0]["lower"] <= 0 <= rows[0]["upper"]:
        return {**table, "strength": None, "strength_sharp": None}

    def end(pair: tuple[FloatArray, FloatArray]) -> float:
        lower, upper = _interval(*pair, level)
        return lower if side > 0 else -upper

    strength = largest_strength(lambda value: end(bounds.at(value)) <= 0, most=_MOST)
    sharper = largest_strength(
        lambda value: end(bounds.sharp_at(value)) <= 0, least=strength, most=_MOST, tolerance=_COARSE
    )
    return {**table, "strength": strength, "strength_sharp": sharper}
