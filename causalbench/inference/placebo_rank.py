"""Placebo test in space: the method is applied to every donor as if it had been treated."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.random import Generator

from causalbench.data.panel import Panel
from causalbench.errors import RefusalError
from causalbench.inference._dates import require_one_date
from causalbench.numerics.gaps import rmspe_ratio
from causalbench.numerics.inversion import RankSet, needed_draws, rank_set
from causalbench.numerics.resampling import subsets
from causalbench.protocols import Estimator, FitsMany, WeighsPeriods
from causalbench.values import Fit, FloatArray, Interval, MethodCard, Uncertainty

_GROUPS = 999
_SLACK = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceboRank:
    r"""Rank of the treated among placebos by the ratio of RMSPE after and before the launch, or by the size of the effect.

    .. math::
        r(\tau)^2 = \frac{\frac1{T_1}\sum_{t > T_0} (\hat g_t - \tau)^2}{\frac1{T_0}\sum_{t \le T_0} \hat g_t^2},\qquad
        p(\tau) = \frac{\#\{G : r_G(\tau) \ge r(\tau)\}}{\#\{G\}}

    with the gap :math:`\hat g_t` of the treated, which count among the groups :math:`G`. One treated unit is ranked
    among all donors, each fitted on the other donors without the treated (Abadie, Diamond, Hainmueller 2010, section
    3.4). Several treated units are ranked among **all** groups of as many units, those that share units with the
    treated included, or 999 drawn ones: ranking them among groups of donors alone rejects far too often. In a group
    that holds treated units, as members or donors, a constant effect :math:`\tau` is taken off first, which shifts its
    gap by :math:`\tau` times its share of them less their donor weight; weights come from before the launch and don't
    depend on :math:`\tau`. Every comparison is then quadratic in :math:`\tau`, and the set of effects with
    :math:`p > \alpha` (Firpo, Possebom 2018, section 4) is found exactly; it may be in several segments, or empty when
    every constant effect is rejected.

    With ``statistic="effect"`` the same groups are ranked by the size of their average effect,
    :math:`s(\tau) = |\frac1{T_1}\sum_{t > T_0} \hat g_t - \tau|`, not divided by the fit before. It is two-sided, and the set
    is found by the same algebra. It looks at the mean alone, so that swings after the launch which average out aren't
    called an effect and a perfect fit before is no obstacle. Don't use it where donors differ in how well they are
    fitted: placebos with a poor fit then set the scale for all.

    The size is marginal over which units were treated, not conditional on noisy ones.

    Parameters
    ----------
    statistic
        ``rmspe_ratio`` or ``effect``.

    Raises
    ------
    RefusalError
        When the estimator can't be refitted or has no weights, there are fewer than two more donors than treated, or several
        treated units, or the statistic ``effect``, meet an estimator with time weights; or with several launch dates.
    """

    statistic: Literal["rmspe_ratio", "effect"] = "rmspe_ratio"

    card: ClassVar[MethodCard] = MethodCard(
        title="Rank among placebos in space (placebo-rank)",
        summary="How unusual is the treated unit's gap among those of donors treated on paper, relative to the fit before?",
        equation=r"r(\tau) = \sqrt{\frac{\mathrm{mean}_{t > T_0} (\hat{g}_t - \tau)^2}{\mathrm{mean}_{t \leq T_0} \hat{g}_t^2}},"
        r"\quad p(\tau) = \frac{\#\{G : r_G(\tau) \geq r(\tau)\}}{\#\{G\}}",
        std_error="none; the interval holds every constant effect that the test doesn't reject",
        assumptions=(
            "The treated could have been any of the units, or any group of as many (size holds on average over that choice).",
        ),
        not_when=("Fewer donors than the level needs: the smallest p is 1 / (donors + 1).",),
        edge_cases=(
            "Several treated units are ranked among all groups of as many units, or 999 drawn ones.",
            "Several treated units and an estimator with time weights (synthetic-did): refused.",
            "Unbounded where there are too few placebos for the level.",
            "Empty, and reported as misfit, where no constant effect is compatible.",
            "A perfect fit before the launch has no ratio: no p-value.",
            'With statistic = "effect" units are ranked by the size of their average effect, not divided by the fit before.',
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
        """Return the rank, its p-value and the set inverted from the same ranks."""
        require_one_date(data, "the rank among placebos")
        pre, gap = data.n_pre, fit.path.effect
        by_ratio = self.statistic == "rmspe_ratio"
        if by_ratio and rmspe_ratio(gap, pre, spread=float(fit.path.observed.std())) is None:
            warning = "not computed: the fit before the launch is perfect, so the ratio isn't defined"
            return Uncertainty(interval=None, p_value=None, warnings=(warning,))
        if not by_ratio and isinstance(estimator, WeighsPeriods):
            raise RefusalError(
                f"effects of {type(estimator).__name__} can't be ranked as they are: placebos have one control less to fit time "
                "weights to, and 15% of true nulls are rejected at 10% (20 units, 25 and 5 periods, 500 draws, error 1.6)",
                remedy='use statistic = "rmspe_ratio", or placebo inference',
            )
        placebos = _placebos(estimator, data, rng)
        total, always = len(placebos) + 1, 1
        if by_ratio:
            found = _compare(
                [placebo for placebo in placebos if placebo.before], float((gap[:pre] ** 2).mean()), gap[pre:]
            )
            # Placebos without a gap before have an infinite ratio: as extreme at every effect, like the treated.
            always += sum(placebo.before is None for placebo in placebos)
        else:
            found = _compare_effects(placebos, fit.effect)
        segments = found.segments(needed_draws(level, total) - always)
        rank = always + found.count(0.0)
        smallest = always / total
        warnings = []
        if not segments:
            warnings.append("misfit: every constant effect is rejected, the gap after the launch varies too much")
        elif not np.isfinite(segments).all():
            warnings.append(f"unbounded: {len(placebos)} placebos allow no p below {smallest:.3g}")
        return Uncertainty(
            interval=Interval(segments=segments, level=level, kind="placebo"),
            p_value=rank / total,
            detail={"rank": rank, "n_placebos": len(placebos), "smallest_p": smallest},
            warnings=tuple(warnings),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Placebo:
    """Mean squared gap before the launch (None: perfect), gaps after it, and how they move with the effect."""

    before: float | None
    after: FloatArray
    slope: float


def _placebos(estimator: Estimator[Panel], data: Panel, rng: Generator) -> list[_Placebo]:
    """Fit every placebo group."""
    if not isinstance(estimator, FitsMany):
        raise RefusalError(f"{type(estimator).__name__} can't be refitted to other assignments")
    treated, n, k, pre = data.ever_treated, len(data.donor_pool), len(data.treated_units), data.n_pre
    if n < k + 2:
        raise RefusalError(
            f"{n} donors are too few for placebos of {k} units", code="CB-D017", remedy="add control units"
        )
    if k > 1 and isinstance(estimator, WeighsPeriods):
        raise RefusalError(
            f"among {k} treated units, groups have treated units as controls, and an effect taken off those moves the time "
            f"weights of {type(estimator).__name__}",
            remedy="use placebo inference, or a method without time weights",
        )
    pool = data.only(units=~treated) if k == 1 else data
    inside = treated[~treated] if k == 1 else treated
    groups, _ = subsets(len(pool.units), k, limit=_GROUPS, n_drawn=_GROUPS, rng=rng)
    groups = groups[(groups != inside).any(axis=1)] if k > 1 else groups
    placebos, launches = [], np.where(groups, pre, len(data.periods))
    for group, refit in zip(groups, estimator.fit_many(pool, launches), strict=True):
        if refit.weights is None:
            raise RefusalError(f"{type(estimator).__name__} has no donor weights to follow an effect through")
        gap = refit.path.effect
        defined = rmspe_ratio(gap, pre, spread=float(refit.path.observed.std())) is not None
        placebos.append(
            _Placebo(
                before=float((gap[:pre] ** 2).mean()) if defined else None,
                after=gap[pre:],
                slope=float((group & inside).sum() / k - refit.weights[inside].sum()),
            )
        )
    return placebos


def _compare(placebos: list[_Placebo], before: float, after: FloatArray) -> RankSet:
    """Find where each placebo's squared ratio is at least the treated one's; both times ``before``, for scale."""
    factor = np.array([before / (placebo.before or math.nan) for placebo in placebos]) * (1 + _SLACK)
    slope = np.array([placebo.slope for placebo in placebos])
    mean = np.array([placebo.after.mean() for placebo in placebos])
    square = np.array([(placebo.after**2).mean() for placebo in placebos])
    return rank_set(
        factor * slope**2 - 1,
        -2 * (factor * slope * mean - after.mean()),
        factor * square - (after**2).mean(),
        scale=float(np.sqrt((after**2).mean())),
    )


def _compare_effects(placebos: list[_Placebo], effect: float) -> RankSet:
    """Find where each placebo's average effect is at least as large as the treated one's."""
    slope = np.array([placebo.slope for placebo in placebos])
    mean = np.array([placebo.after.mean() for placebo in placebos])
    factor = 1 + _SLACK
    return rank_set(
        factor * slope**2 - 1,
        -2 * (factor * slope * mean - effect),
        factor * mean**2 - effect**2,
        scale=max(abs(effect), float(np.abs(mean).max())),
    )
