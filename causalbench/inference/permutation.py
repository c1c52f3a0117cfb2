"""Randomization inference: who was treated is drawn again."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, cast

import numpy as np
from numpy.random import Generator

from causalbench.data.panel import Panel
from causalbench.errors import RefusalError
from causalbench.numerics.resampling import subsets
from causalbench.protocols import Estimator, FitsMany
from causalbench.values import BoolArray, Fit, FloatArray, Interval, MethodCard, Uncertainty

_ENUMERATED = 20_000
_DRAWN = 9_999


@dataclass(frozen=True, slots=True, kw_only=True)
class Permutation:
    r"""Test of a constant effect by reassigning treatment among units, inverted exactly.

    For an estimator linear in the outcome, the estimate under assignment :math:`D'` after taking a constant effect
    :math:`\tau` off the treated cells is :math:`a_{D'} - c_{D'} \tau`, with :math:`c_{D'}` the estimator applied to
    the actual treatment itself. So

    .. math:: p(\tau) = \frac1{|\mathcal D|} \#\{D' : |a_{D'} - c_{D'}\tau| \ge |\hat\tau - \tau|\},

    each draw contributes one interval of :math:`\tau` around :math:`\hat\tau`, and the set of effects with
    :math:`p > \alpha` is found by sorting their ends, without a grid (Fisher's sharp null; Rosenbaum 2002, section 2.6).
    All assignments are enumerated up to 20,000, else 9,999 are drawn and the actual one is added.

    Exact when treatment was randomized or units are exchangeable; the size is marginal over the choice of unit.
    Don't use it where treated units are of another kind than the rest, far larger or more volatile.

    Raises
    ------
    RefusalError
        When the estimator can't be refitted to other assignments.
    """

    card: ClassVar[MethodCard] = MethodCard(
        title="Permutation of the treated units (permutation)",
        summary="How often would a chance choice of treated units show a difference this large?",
        equation=r"p(\tau) = \frac{\#\{D' : |a_{D'} - c_{D'} \tau| \geq |\hat\tau - \tau|\}}{\#\{D'\}}",
        std_error="none; the interval holds every constant effect that the test doesn't reject",
        assumptions=("Any other choice of treated units was as likely, or units are exchangeable.",),
        not_when=("The treated units are of another kind than the rest: far larger, or more volatile.",),
        edge_cases=("With too few assignments for the level the interval is unbounded and says so.",),
        references=(
            ("Rosenbaum (2002), Observational Studies, section 2.6", "https://doi.org/10.1007/978-1-4757-3692-2"),
        ),
    )

    def infer(self, estimator: Estimator[Panel], data: Panel, fit: Fit, *, level: float, rng: Generator) -> Uncertainty:
        """Return the exact p-value and the interval inverted from the same draws."""
        if not hasattr(estimator, "fit_many"):
            raise RefusalError(f"{type(estimator).__name__} can't be refitted to other assignments")
        draws, exact = _assignments(data.ever_treated, rng)
        many = cast(FitsMany[Panel], estimator)
        # What all units share in a period changes no estimate; without it ties stay ties at any level of the outcome.
        centred = replace(data, outcome=data.outcome - data.outcome.mean(axis=0))
        effects = np.array([refit.effect for refit in many.fit_many(centred, draws)])
        indicator = replace(data, outcome=data.treated.astype(float))
        slopes = np.array([refit.effect for refit in many.fit_many(indicator, draws)])
        lower, upper = _accepted(effects, slopes, effects[0])
        n_accepting = int(((lower <= 0) & (upper >= 0)).sum())
        rank = math.floor((1 - level) * len(draws) + 1e-9)
        segment = (float(np.sort(lower)[rank]), float(-np.sort(-upper)[rank]))
        smallest = 1 / len(draws)
        warnings = []
        if not np.isfinite(segment).all():
            warnings.append(f"unbounded: {len(draws)} assignments allow no p below {smallest:.3f}")
        if not exact:
            warnings.append(
                f"{_DRAWN} assignments were drawn out of {math.comb(len(data.units), len(data.treated_units))}"
            )
        return Uncertainty(
            interval=Interval(segments=(segment,), level=level, kind="confidence"),
            p_value=n_accepting / len(draws),
            detail={"n_assignments": len(draws), "exact": exact, "smallest_p": smallest},
            warnings=tuple(warnings),
        )


def _assignments(treated: BoolArray, rng: Generator) -> tuple[BoolArray, bool]:
    """Return assignments with the actual one first, and whether they are all there are."""
    rows, exact = subsets(len(treated), int(treated.sum()), limit=_ENUMERATED, n_drawn=_DRAWN, rng=rng)
    others = rows[(rows != treated).any(axis=1)] if exact else rows
    return np.vstack([treated, others]), exact


def _accepted(effects: FloatArray, slopes: FloatArray, estimate: float) -> tuple[FloatArray, FloatArray]:
    """Return the ends of each draw's interval of effects at which it is at least as extreme as the actual one."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = np.stack([(estimate - effects) / (1 - slopes), (estimate + effects) / (1 + slopes)])
    # A slope of 1 or -1 is the actual assignment or its mirror image: as extreme at every effect.
    always = np.abs(np.abs(slopes) - 1) < 1e-9
    lower = np.where(always, -np.inf, ends.min(axis=0))
    upper = np.where(always, np.inf, ends.max(axis=0))
    slack = 1e-12 * max(abs(estimate), float(np.abs(effects).max()))
    return lower - slack, upper + slack
