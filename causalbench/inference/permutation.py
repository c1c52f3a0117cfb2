"""Randomization inference: who was treated is drawn again."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.random import Generator

from causalbench.data.panel import Panel
from causalbench.errors import RefusalError, listing
from causalbench.numerics.inversion import compared, needed_draws, rank_set
from causalbench.numerics.resampling import arrangements, n_arrangements
from causalbench.protocols import AffineAfterLaunch, Estimator, FitsMany
from causalbench.values import Fit, FloatArray, IntArray, Interval, MethodCard, Uncertainty

_ENUMERATED = 20_000
_DRAWN = 9_999
_SLACK = 1e-10


@dataclass(frozen=True, slots=True, kw_only=True)
class Permutation:
    r"""Test of a constant effect by reassigning launches among units, inverted exactly.

    For an estimator linear in the outcome, the estimate under assignment :math:`D'` after taking a constant effect
    :math:`\tau` off the treated cells is :math:`a_{D'} - c_{D'} \tau`, with :math:`c_{D'}` the estimator applied to
    the actual treatment itself. So

    .. math:: p(\tau) = \frac1{|\mathcal D|} \#\{D' : |a_{D'} - c_{D'}\tau| \ge |\hat\tau - \tau|\},

    (for an estimator whose line or weights are fitted to outcomes before the launch alone, :math:`c_{D'}` is what the estimate
    loses when an effect of one is taken off the treated cells, which is the same for every effect);
    each draw contributes one interval of :math:`\tau` around :math:`\hat\tau`, and the set of effects with
    :math:`p > \alpha` is found by sorting their ends, without a grid (Fisher's sharp null; Rosenbaum 2002, section 2.6).
    An assignment keeps how many units launch when, and permutes which; with clusters above units whole clusters swap
    their launch. All distinct assignments are enumerated up to 20,000, else 9,999 are drawn and the actual one is added.

    Exact when treatment was randomized or units are exchangeable; the size is marginal over the choice of unit.
    Don't use it where treated units are of another kind than the rest, far larger or more volatile.

    Raises
    ------
    RefusalError
        When the estimator can't be refitted to other assignments, or the units of a cluster launched at different dates.
    """

    card: ClassVar[MethodCard] = MethodCard(
        title="Permutation of the treated units (permutation)",
        summary="How often would a chance choice of treated units, or of their launch dates, show an effect this large?",
        equation=r"p(\tau) = \frac{\#\{D' : |a_{D'} - c_{D'} \tau| \geq |\hat\tau - \tau|\}}{\#\{D'\}}",
        std_error="none; the interval holds every constant effect that the test doesn't reject",
        assumptions=("Any other choice of treated units was as likely, or units are exchangeable.",),
        not_when=("The treated units are of another kind than the rest: far larger, or more volatile.",),
        edge_cases=(
            "With too few assignments for the level the interval is unbounded and says so.",
            "Clusters above units swap their launch as a whole; clusters whose units differ in it are refused.",
            "Up to 20,000 assignments are enumerated; of more, 9,999 are drawn and the actual one is added.",
        ),
        references=(
            ("Rosenbaum (2002), Observational Studies, section 2.6", "https://doi.org/10.1007/978-1-4757-3692-2"),
        ),
    )

    def infer(self, estimator: Estimator[Panel], data: Panel, fit: Fit, *, level: float, rng: Generator) -> Uncertainty:
        """Return the exact p-value and the interval inverted from the same draws."""
        if not isinstance(estimator, FitsMany):
            raise RefusalError(f"{type(estimator).__name__} can't be refitted to other assignments")
        launches = _cluster_launches(data)
        possible = n_arrangements(launches)
        effects, slopes = _refit(estimator, data, arrangements(launches, limit=_ENUMERATED, n_drawn=_DRAWN, rng=rng))
        a, b, c, scale = compared(effects, slopes)
        found = rank_set(a, b, c, scale=scale)
        # Assignments with a slope of 1 or -1 (the actual one and its mirror image) are as extreme whatever the data.
        smallest = float((np.abs(np.abs(slopes) - 1) < _SLACK).sum()) / len(effects)
        segments = found.segments(needed_draws(level, len(effects)))
        warnings = []
        if not np.isfinite(segments).all():
            warnings.append(f"unbounded: {len(effects)} assignments allow no p below {smallest:.3g}")
        if possible > _ENUMERATED:
            total = f"{possible:.0f}" if math.isfinite(possible) else "more than 10^15"
            warnings.append(f"{_DRAWN} assignments were drawn out of {total}")
        return Uncertainty(
            interval=Interval(segments=segments, level=level, kind="confidence"),
            p_value=found.count(0.0) / len(effects),
            detail={"n_assignments": len(effects), "exact": possible <= _ENUMERATED, "smallest_p": smallest},
            warnings=tuple(warnings),
        )


def _cluster_launches(data: Panel) -> IntArray:
    """Return the launch of each cluster, shape (n_clusters,)."""
    earliest = np.full(data.n_clusters, len(data.periods))
    latest = np.zeros_like(earliest)
    np.minimum.at(earliest, data.cluster_codes, data.first_treated)
    np.maximum.at(latest, data.cluster_codes, data.first_treated)
    if (mixed := earliest != latest).any():
        names = sorted({name for name, code in zip(data.cluster or (), data.cluster_codes, strict=True) if mixed[code]})
        raise RefusalError(
            f"permutation moves whole clusters, but the units of {len(names)} clusters differ in their launch: "
            f"{listing(names)}",
            code="CB-D015",
            remedy="use another inference of the method, or a cluster column within which every unit launched together",
        )
    return earliest


def _refit(estimator: FitsMany[Panel], data: Panel, assignments: Iterable[IntArray]) -> tuple[FloatArray, FloatArray]:
    """Return the estimate of every assignment, and what it loses per unit of a constant effect taken off the treated cells."""
    if isinstance(estimator, AffineAfterLaunch):
        return _refit_shifted(estimator, data, assignments)
    # What all units share in a period changes no estimate; without it ties stay ties at any level of the outcome.
    missing = np.isnan(data.outcome)
    common = np.nanmean(data.outcome, axis=0) if missing.any() else data.outcome.mean(axis=0)
    centred = replace(data, outcome=data.outcome - common)
    indicator = replace(data, outcome=np.where(missing, np.nan, data.treated))
    effects, slopes = [], []
    for rows in assignments:
        launches = rows[:, data.cluster_codes]
        effects += [refit.effect for refit in estimator.fit_many(centred, launches)]
        slopes += [refit.effect for refit in estimator.fit_many(indicator, launches)]
    return np.array(effects), np.array(slopes)


def _refit_shifted(
    estimator: FitsMany[Panel], data: Panel, assignments: Iterable[IntArray]
) -> tuple[FloatArray, FloatArray]:
    """Take an effect of the size of the data off the treated cells and see what every estimate loses."""
    size = float(np.ptp(data.outcome))
    lowered = replace(data, outcome=data.outcome - size * data.treated)
    effects, less = [], []
    for rows in assignments:
        launches = rows[:, data.cluster_codes]
        effects += [refit.effect for refit in estimator.fit_many(data, launches)]
        less += [refit.effect for refit in estimator.fit_many(lowered, launches)]
    found = np.array(effects)
    return found, (found - np.array(less)) / size
