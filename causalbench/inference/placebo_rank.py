"""Placebo test in space: the method is applied to every donor as if it had been treated."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np
from numpy.random import Generator

from causalbench.data.panel import Panel
from causalbench.errors import RefusalError
from causalbench.numerics.resampling import subsets
from causalbench.protocols import Estimator, FitsMany
from causalbench.values import BoolArray, Fit, Interval, MethodCard, Uncertainty

_GROUPS = 999
_PERFECT = 1e-8


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceboRank:
    r"""Rank of the treated among placebos by the ratio of RMSPE after and before the launch.

    .. math::
        r(\tau)^2 = \frac{\frac1{T_1}\sum_{t > T_0} (\hat g_t - \tau)^2}{\frac1{T_0}\sum_{t \le T_0} \hat g_t^2},\qquad
        p(\tau) = \frac{1 + \#\{j : r_j \ge r(\tau)\}}{1 + J}

    with the gap :math:`\hat g_t` of the treated and :math:`r_j` of each placebo, fitted on the other donors without
    the treated (Abadie, Diamond, Hainmueller 2010, section 3.4; confidence sets: Firpo, Possebom 2018, section 4). As
    :math:`r(\tau)` is least at the estimate, the set of effects with :math:`p > \alpha` is one interval around it,
    solved in closed form; it is empty when even the best constant effect is rejected. Several treated units are
    compared with groups of as many donors: all groups, or 999 drawn ones.

    The size is marginal over which unit was treated, not conditional on a noisy one.

    Raises
    ------
    RefusalError
        When the estimator can't be refitted, or there are fewer donors than treated units plus two.
    """

    card: ClassVar[MethodCard] = MethodCard(
        title="Rank among placebos in space (placebo-rank)",
        summary="How unusual is the treated unit's gap among those of donors treated on paper, relative to the fit before?",
        equation=r"r(\tau) = \sqrt{\frac{\mathrm{mean}_{t > T_0} (\hat{g}_t - \tau)^2}{\mathrm{mean}_{t \leq T_0} \hat{g}_t^2}},"
        r"\quad p(\tau) = \frac{1 + \#\{j : r_j \geq r(\tau)\}}{1 + J}",
        std_error="none; the interval holds every constant effect that the test doesn't reject",
        assumptions=("The treated unit could have been any of the units (size holds on average over that choice).",),
        not_when=("Fewer donors than the level needs: the smallest p is 1 / (donors + 1).",),
        edge_cases=(
            "Unbounded where there are too few placebos for the level.",
            "Empty, and reported as misfit, where no constant effect is compatible.",
            "A perfect fit before the launch has no ratio: no p-value.",
        ),
        references=(
            (
                "Abadie, Diamond, Hainmueller (2010), Journal of the American Statistical Association 105, 493-505",
                "https://doi.org/10.1198/jasa.2009.ap08746",
            ),
            ("Firpo, Possebom (2018), Journal of Causal Inference 6", "https://doi.org/10.1515/jci-2016-0026"),
        ),
    )

    def infer(self, estimator: Estimator[Panel], data: Panel, fit: Fit, *, level: float, rng: Generator) -> Uncertainty:
        """Return the rank, its p-value and the interval inverted from the same ranks."""
        ratios = placebo_ratios(estimator, data, rng)
        gap, pre = fit.path.effect, data.n_pre
        pre_mspe = float((gap[:pre] ** 2).mean())
        if _is_perfect(pre_mspe, fit):
            warning = "not computed: the fit before the launch is perfect, so the ratio isn't defined"
            return Uncertainty(interval=None, p_value=None, warnings=(warning,))
        total = len(ratios) + 1
        own = math.sqrt(float((gap[pre:] ** 2).mean()) / pre_mspe)
        rank = 1 + int((ratios >= own).sum())
        # The set keeps an effect when at least `needed` placebos are as extreme as what it leaves unexplained.
        needed = math.floor((1 - level) * total + 1e-9)
        segments, warnings = _segments(ratios, needed, fit.effect, gap[pre:], pre_mspe)
        return Uncertainty(
            interval=Interval(segments=segments, level=level, kind="placebo"),
            p_value=rank / total,
            detail={"rank": rank, "n_placebos": len(ratios), "smallest_p": 1 / total},
            warnings=warnings,
        )


def _is_perfect(pre_mspe: float, fit: Fit) -> bool:
    """Tell rounding from a gap: what is left before the launch is nothing beside the outcome's own movement."""
    return pre_mspe <= (_PERFECT * float(fit.path.observed.std())) ** 2


def placebo_groups(data: Panel, rng: Generator) -> BoolArray:
    """Return groups of donors, as many in each as there are treated units; shape (n_groups, n_donors)."""
    n, k = len(data.donor_pool), len(data.treated_units)
    if n < k + 2:
        raise RefusalError(
            f"{n} donors are too few for placebos of {k} units", code="CB-D017", remedy="add control units"
        )
    groups, _ = subsets(n, k, limit=_GROUPS, n_drawn=_GROUPS, rng=rng)
    return groups


def placebo_ratios(
    estimator: Estimator[Panel], data: Panel, rng: Generator
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the RMSPE ratio of every placebo group."""
    if not hasattr(estimator, "fit_many"):
        raise RefusalError(f"{type(estimator).__name__} can't be refitted to other assignments")
    groups, pre = placebo_groups(data, rng), data.n_pre
    donors = data.only(units=~data.ever_treated).assigned_to(groups[0], start=pre)
    ratios = []
    for refit in cast(FitsMany[Panel], estimator).fit_many(donors, groups):
        gap = refit.path.effect
        before, after = float((gap[:pre] ** 2).mean()), float((gap[pre:] ** 2).mean())
        ratios.append(math.inf if _is_perfect(before, refit) else math.sqrt(after / before))
    return np.array(ratios)


def _segments(
    ratios: np.ndarray[tuple[int], np.dtype[np.float64]],
    needed: int,
    effect: float,
    gap: np.ndarray[tuple[int], np.dtype[np.float64]],
    pre_mspe: float,
) -> tuple[tuple[tuple[float, float], ...], tuple[str, ...]]:
    if needed == 0:
        return ((-math.inf, math.inf),), (
            f"unbounded: {len(ratios)} placebos allow no p below {1 / (len(ratios) + 1):.3f}",
        )
    critical = float(-np.sort(-ratios)[needed - 1])
    if math.isinf(critical):
        return ((-math.inf, math.inf),), ("unbounded: too many placebos fit perfectly before the launch",)
    room = critical**2 * pre_mspe - float(gap.var())
    if room < 0:
        return (), ("misfit: every constant effect is rejected, the gap after the launch varies too much",)
    reach = math.sqrt(room)
    return ((effect - reach, effect + reach),), ()
