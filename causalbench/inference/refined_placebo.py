"""Refined placebo test: the treated unit against every pair of donors, each of the three fitted without the others."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.random import Generator

from causalbench.data.panel import Panel
from causalbench.errors import RefusalError
from causalbench.numerics.gaps import rmspe_ratio
from causalbench.numerics.inversion import needed_draws, rank_set
from causalbench.protocols import Estimator, FitsMany
from causalbench.values import Fit, FloatArray, IntArray, Interval, MethodCard, Uncertainty

_SLACK = 1e-9
_ROUNDING = 1e-7


@dataclass(frozen=True, slots=True, kw_only=True)
class RefinedPlacebo:
    r"""How often the treated unit has not the largest RMSPE ratio among itself and two donors (leave-two-out).

    For every pair of donors i, j the treated unit I and both of them are fitted on the **other** N - 3 units, and

    .. math::
        p(\tau) = \frac{1 + \#\{i < j : r_I^{ij}(\tau) \le \max(r_i^{ij}, r_j^{ij})\}}{1 + \binom{N - 1}{2}}

    with the ratio r of root mean squared gaps after and before the launch, and :math:`\tau` taken off the treated gap
    (Lei, Sudijono, "Inference for synthetic controls via refined placebo tests", arXiv 2401.07152: the leave-two-out
    p-value; theirs doesn't count the treated itself, and may be 0). Every comparison is quadratic in :math:`\tau`, so the
    set of effects with :math:`p > \alpha` is exact.

    **Size.** Had any of the N units been treated with the same probability, p falls to :math:`\alpha` or below for at most
    s of them, the largest s with :math:`(s-1)(s-2)/3 + (s-1)(N-s)/2 \le \alpha (N-1)(N-2)/2`, as at most one of
    three wins: the level is guaranteed up to s / N, which is given as ``size_bound`` and said where it exceeds the level.
    The rank among N placebos guarantees no less, and can't reject at all below 1 / N; here p goes down to
    :math:`1 / (1 + \binom{N-1}{2})`: .022 with 10 donors, .005 with 20.

    A donor without weight can be left out of a fit without changing it, so that most of the 3 N (N - 1) / 2 fits are
    known from others. That is exact where donors matter by their weight only (weights on outcomes, with or without a
    penalty given as a number). With ``match="predictors"`` or ``"shared"``, ``penalty="auto"`` or ``compat="synthdid"`` it
    is approximate: scales, importance or penalty stay those of the fit with this donor, where a refit might choose others
    (in six simulated panels the gap moves by at most 2.2, .3, 1 and .005 of its standard deviation); refused where that
    moves the treated unit's own fit.

    Raises
    ------
    RefusalError
        With several treated units, fewer than five donors, an estimator that can't be refitted or has no weights, or a fit
        that changes when donors without weight are left out.
    """

    card: ClassVar[MethodCard] = MethodCard(
        title="Refined placebo test, leave two out (refined-placebo)",
        summary="How often does the treated unit stand out most among itself and two donors, each fitted without the others?",
        equation=r"p(\tau) = \frac{1 + \# \{ i < j : r_I^{ij}(\tau) \leq \max(r_i^{ij}, r_j^{ij}) \}}{1 + \binom{N-1}{2}}",
        std_error="none; the interval holds every constant effect that the test doesn't reject",
        assumptions=("The treated could have been any of the units with the same probability.",),
        not_when=(
            "Several treated units: use placebo-rank.",
            "A treated unit of another kind than the donors.",
        ),
        edge_cases=(
            "The guaranteed size is a multiple of 1 / units; it is given, and said where it exceeds the level.",
            "A perfect fit before the launch has no ratio: no p-value.",
            "Empty, and reported as misfit, where no constant effect is compatible.",
        ),
        references=(
            ("Lei, Sudijono (2024), arXiv 2401.07152", "https://doi.org/10.48550/arXiv.2401.07152"),
            (
                "Abadie, Diamond, Hainmueller (2010), Journal of the American Statistical Association 105, 493-505",
                "https://doi.org/10.1198/jasa.2009.ap08746",
            ),
        ),
    )

    def infer(self, estimator: Estimator[Panel], data: Panel, fit: Fit, *, level: float, rng: Generator) -> Uncertainty:
        """Return the p-value and the set inverted from the same comparisons; ``rng`` isn't used."""
        _require(estimator, data)
        pre = data.n_pre
        if rmspe_ratio(fit.path.effect, pre, spread=float(fit.path.observed.std())) is None:
            warning = "not computed: the fit before the launch is perfect, so the ratio isn't defined"
            return Uncertainty(interval=None, p_value=None, warnings=(warning,))
        ratios, gaps = _donor_ratios(estimator, data), _treated_gaps(estimator, data, fit)
        pairs = list(itertools.combinations(range(len(data.donor_pool)), 2))
        largest = np.array([max(ratios[i, j], ratios[j, i]) for i, j in pairs])
        chosen = [gaps[pair] for pair in pairs]
        before = np.array([(gap[:pre] ** 2).mean() for gap in chosen])
        mean = np.array([gap[pre:].mean() for gap in chosen])
        square = np.array([(gap[pre:] ** 2).mean() for gap in chosen])
        hurdle = np.isfinite(largest)
        limit = (largest[hurdle] * (1 + _SLACK)) ** 2 * before[hurdle]
        found = rank_set(
            -np.ones(int(hurdle.sum())),
            2 * mean[hurdle],
            limit - square[hurdle],
            scale=float(np.sqrt(square.mean())),
        )
        always, total = 1 + int((~hurdle).sum()), 1 + len(pairs)
        segments = found.segments(needed_draws(level, total) - always)
        lost = always - 1 + found.count(0.0)
        n_units = len(data.units)
        bound = size_bound(n_units, 1 - level)
        return Uncertainty(
            interval=Interval(segments=segments, level=level, kind="placebo"),
            p_value=(1 + lost) / total,
            detail={"n_lost": lost, "n_pairs": len(pairs), "smallest_p": always / total, "size_bound": bound},
            warnings=_warnings(segments, always / total, n_units, bound, level),
        )


def size_bound(n_units: int, alpha: float) -> float:
    """Return what a p-value of at most ``alpha`` has at most as its probability when any unit could have been treated.

    Examples
    --------
    >>> size_bound(20, 0.1), size_bound(12, 0.1), size_bound(12, 0.01)
    (0.1, 0.16666666666666666, 0.08333333333333333)
    """
    allowed = alpha * (n_units - 1) * (n_units - 2) / 2 + 1e-9
    counts = np.arange(1, n_units + 1)
    lost = (counts - 1) * (counts - 2) / 3 + (counts - 1) * (n_units - counts) / 2
    return float(counts[lost <= allowed].max()) / n_units


def _warnings(
    segments: tuple[tuple[float, float], ...], smallest: float, n_units: int, bound: float, level: float
) -> tuple[str, ...]:
    warnings = []
    if not segments:
        warnings.append("misfit: every constant effect is rejected, the gap after the launch varies too much")
    elif not np.isfinite(segments).all():
        warnings.append(f"unbounded: {n_units - 1} donors allow no p below {smallest:.3g}")
    if bound > 1 - level + 1e-9:
        warnings.append(
            f"{n_units} units guarantee this test a size of {bound:.3g}, not of {1 - level:.3g}; it is often below, not always"
        )
    return tuple(warnings)


def _require(estimator: Estimator[Panel], data: Panel) -> None:
    if not isinstance(estimator, FitsMany):
        raise RefusalError(f"{type(estimator).__name__} can't be refitted to other assignments")
    if len(data.treated_units) > 1:
        raise RefusalError(
            f"the refined placebo test is about one treated unit, the data have {len(data.treated_units)}",
            code="CB-D015",
            remedy='use inference = "placebo-rank" under [method], or --inference placebo-rank',
        )
    if len(data.donor_pool) < 5:
        raise RefusalError(
            f"{len(data.donor_pool)} donors are too few to leave two out, five are needed",
            code="CB-D017",
            remedy="add control units",
        )


def _used(fit: Fit, donors: IntArray) -> list[int]:
    """Return which donors, by their place among them, have weight in a fit."""
    if fit.weights is None:
        raise RefusalError("donors can't be left out of a fit that has no donor weights")
    return np.flatnonzero(fit.weights[donors]).tolist()


def _treated_gaps(estimator: Estimator[Panel], data: Panel, fit: Fit) -> dict[tuple[int, int], FloatArray]:
    """Return the treated unit's gap without each pair of donors, refitting only where one of them has weight."""
    donors = np.flatnonzero(~data.ever_treated)

    def refit(*out: int) -> tuple[FloatArray, set[int]]:
        kept = np.ones(len(data.units), dtype=bool)
        kept[donors[list(out)]] = False
        found = estimator.fit(data.only(units=kept))
        remaining = np.setdiff1d(np.arange(len(donors)), out)
        places = np.flatnonzero(~data.ever_treated[kept])
        return found.path.effect, {int(remaining[place]) for place in _used(found, places)}

    whole = fit.path.effect, set(_used(fit, donors))
    single = {i: refit(i) for i in range(len(donors))}
    rounding = _ROUNDING * float(fit.path.observed.std())
    moved = [i for i in single if i not in whole[1] and np.abs(single[i][0] - whole[0]).max() > rounding]
    if moved:
        raise RefusalError(
            f"leaving out donors without weight changes the fit ({len(moved)} of {len(donors) - len(whole[1])} do), so the test "
            "would need every pair of donors refitted",
            remedy='use inference = "placebo-rank", or weights that donors without weight don\'t move: match = outcomes, and no '
            "penalty or a number",
        )
    gaps = {}
    for i, j in itertools.combinations(range(len(donors)), 2):
        gap, used = single[i]
        gaps[i, j] = refit(i, j)[0] if j in used else gap
    return gaps


def _donor_ratios(estimator: Estimator[Panel], data: Panel) -> FloatArray:
    """Return each donor's ratio without the treated and one other donor, shape (n_donors, n_donors); infinite if perfect."""
    pool, n = data.only(units=~data.ever_treated), len(data.donor_pool)
    ratios = np.full((n, n), math.nan)
    used: list[list[int]] = [[] for _ in range(n)]
    for i, placebo in enumerate(_placebos(estimator, pool, np.arange(n), data.n_pre)):
        ratios[i] = _ratio(placebo, data.n_pre)
        used[i] = _used(placebo, np.arange(n))
    for j in range(n):
        kept = np.arange(n) != j
        again = np.array([i for i in range(n) if j in used[i]], dtype=np.int64)
        if len(again):
            refits = _placebos(estimator, pool.only(units=kept), again - (again > j), data.n_pre)
            ratios[again, j] = [_ratio(refit, data.n_pre) for refit in refits]
    return ratios


def _placebos(estimator: Estimator[Panel], pool: Panel, chosen: IntArray, pre: int) -> list[Fit]:
    """Fit the chosen units of a pool, each as if it alone had been treated."""
    launches = np.where(np.arange(len(pool.units)) == chosen[:, None], pre, len(pool.periods))
    return list(estimator.fit_many(pool, launches))  # type: ignore[attr-defined]


def _ratio(fit: Fit, pre: int) -> float:
    ratio = rmspe_ratio(fit.path.effect, pre, spread=float(fit.path.observed.std()))
    return math.inf if ratio is None else ratio
