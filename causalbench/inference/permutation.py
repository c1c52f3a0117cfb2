"""Randomization inference: who was treated is drawn again."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.random import Generator

from causalbench.data.panel import Panel
from causalbench.errors import RefusalError
from causalbench.numerics.inversion import needed_draws, rank_set
from causalbench.numerics.resampling import subsets
from causalbench.protocols import Estimator, FitsMany
from causalbench.values import BoolArray, Fit, Interval, MethodCard, Uncertainty

_ENUMERATED = 20_000
_DRAWN = 9_999
_SLACK = 1e-10


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
        if not isinstance(estimator, FitsMany):
            raise RefusalError(f"{type(estimator).__name__} can't be refitted to other assignments")
        draws, exact = _assignments(data.ever_treated, rng)
        # What all units share in a period changes no estimate; without it ties stay ties at any level of the outcome.
        centred = replace(data, outcome=data.outcome - data.outcome.mean(axis=0))
        effects = np.array([refit.effect for refit in estimator.fit_many(centred, draws)])
        indicator = replace(data, outcome=data.treated.astype(float))
        slopes = np.array([refit.effect for refit in estimator.fit_many(indicator, draws)])
        scale, actual = float(np.abs(effects).max()), effects[0]
        slack = (_SLACK * scale) ** 2 + 2 * _SLACK * scale * np.abs(effects)
        found = rank_set(slopes**2 - 1, 2 * (actual - effects * slopes), effects**2 - actual**2 + slack, scale=scale)
        # Assignments with a slope of 1 or -1 (the actual one and its mirror image) are as extreme whatever the data.
        smallest = float((np.abs(np.abs(slopes) - 1) < _SLACK).sum()) / len(draws)
        segments = found.segments(needed_draws(level, len(draws)))
        warnings = []
        if not np.isfinite(segments).all():
            warnings.append(f"unbounded: {len(draws)} assignments allow no p below {smallest:.3g}")
        if not exact:
            warnings.append(
                f"{_DRAWN} assignments were drawn out of {math.comb(len(data.units), len(data.treated_units))}"
            )
        return Uncertainty(
            interval=Interval(segments=segments, level=level, kind="confidence"),
            p_value=found.count(0.0) / len(draws),
            detail={"n_assignments": len(draws), "exact": exact, "smallest_p": smallest},
            warnings=tuple(warnings),
        )


def _assignments(treated: BoolArray, rng: Generator) -> tuple[BoolArray, bool]:
    """Return assignments with the actual one first, and whether they are all there are."""
    rows, exact = subsets(len(treated), int(treated.sum()), limit=_ENUMERATED, n_drawn=_DRAWN, rng=rng)
    others = rows[(rows != treated).any(axis=1)] if exact else rows
    return np.vstack([treated, others]), exact
