"""Cluster bootstrap: whole clusters are drawn again, with what each contributes to the estimate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.random import Generator

from causalbench.data.panel import Panel
from causalbench.errors import RefusalError
from causalbench.inference import _wald
from causalbench.numerics.inversion import needed_draws
from causalbench.numerics.resampling import stratified_t_ratios
from causalbench.protocols import Estimator
from causalbench.values import Fit, Interval, MethodCard, Uncertainty

_DRAWN = 9_999


@dataclass(frozen=True, slots=True, kw_only=True)
class Bootstrap:
    r"""Pairs cluster bootstrap-t of the linearised estimator.

    Clusters are drawn with replacement, as many treated and as many control ones as there are, and a draw's estimate is
    the sum of the drawn clusters' contributions :math:`\psi_g`, the estimator's influence function added up within
    clusters. Each draw is divided by its own standard error, and so are the data:

    .. math:: p(\tau) = \frac1B \#\{b : |t^*_b| \ge |\hat\tau - \tau| / \widehat{se}\},
        \qquad \widehat{se}^2 = \sum_g (\psi_g - \bar\psi_{s(g)})^2,

    the symmetric bootstrap-t (Cameron, Gelbach, Miller 2008, for clusters). Of 10,000 draws the data themselves are one. To
    linearise keeps every draw an estimate, where drawing units and fitting again may leave a launch date without units. A
    cluster with treated and control units counts as treated. An event study gets the bands of its joint covariance, as
    under cluster-robust inference.

    Don't use it with few treated or few control clusters: draws then hold hardly more than one or two of them. At 25,
    10, 5 treated of 50 US states it rejects a true null at 5% in 5, 5, 6% of draws of wages; at 2 it would in about 15%.

    Raises
    ------
    RefusalError
        With fewer than five treated or five control clusters, or when the estimator has no influence function.
    """

    card: ClassVar[MethodCard] = MethodCard(
        title="Cluster bootstrap (bootstrap)",
        summary="Whole clusters are drawn again, with what each contributes to the estimate; each draw has its own error.",
        equation=r"p(\tau) = \frac{1}{B} \# \left\{ b : |t^*_b| \geq |\hat\tau - \tau| / \widehat{\mathrm{se}} \right\}, "
        r"\quad t^*_b = \frac{\sum_g c_{bg} (\psi_g - \bar\psi_{s(g)})}{\widehat{\mathrm{se}}^*_b}",
        std_error="root of the summed squared contributions of the clusters, without a small-sample factor",
        assumptions=("Clusters are independent of each other.", "Several clusters on both sides."),
        not_when=("Fewer than five treated or five control clusters.",),
        edge_cases=(
            "Clusters are drawn within treated and control; a cluster with both counts as treated.",
            "A standard error of zero gives no interval and no p-value.",
        ),
        references=(
            (
                "Cameron, Gelbach, Miller (2008), Review of Economics and Statistics 90, 414-427",
                "https://doi.org/10.1162/rest.90.3.414",
            ),
            (
                "Callaway, Sant'Anna (2021), Journal of Econometrics 225, 200-230, section 4.1 (influence function)",
                "https://doi.org/10.1016/j.jeconom.2020.12.001",
            ),
        ),
    )

    def infer(self, estimator: Estimator[Panel], data: Panel, fit: Fit, *, level: float, rng: Generator) -> Uncertainty:
        """Return interval and p-value from the same draws."""
        _wald.require_clusters(data, what="cluster bootstraps", inferences=estimator.inferences)
        if fit.influence is None:
            raise RefusalError(
                "too few clusters stand behind some part of the estimate to draw them again",
                code="CB-D015",
                remedy="add clusters, or choose a method with permutation inference: did, or group-time for several launch dates",
            )
        scores = np.bincount(data.cluster_codes, fit.influence, minlength=data.n_clusters).astype(float)
        strata = np.bincount(data.cluster_codes[data.ever_treated], minlength=data.n_clusters) > 0
        std_error, ratios = stratified_t_ratios(scores, strata.astype(np.int64), n_drawn=_DRAWN, rng=rng)
        if _wald.is_perfect(data, fit, std_error):
            return _wald.not_computed()
        total, sizes = _DRAWN + 1, np.sort(np.abs(ratios))[::-1]
        # The data are one of the draws that are at least as extreme, whatever the effect.
        needed = needed_draws(level, total) - 1
        reach = float(sizes[needed - 1]) * std_error if needed > 0 else np.inf
        own = abs(fit.effect) / std_error
        df = _wald.degrees_of_freedom(data, fit)
        return Uncertainty(
            interval=Interval(segments=((fit.effect - reach, fit.effect + reach),), level=level, kind="confidence"),
            p_value=float(1 + (sizes >= own).sum()) / total,
            std_error=std_error,
            bands=_wald.event_bands(fit.event_study, df=df, level=level, rng=rng),
            detail={"n_draws": total, **_wald.group_time_bands(fit, df=df, level=level, rng=rng)},
        )
