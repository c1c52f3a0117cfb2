"""Cluster bootstrap of the influence function of an estimator on a cross-section."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from numpy.random import Generator
from pydantic import Field

from causalbench.data.cross_section import CrossSection
from causalbench.inference import _units, _wald
from causalbench.numerics.inversion import needed_draws
from causalbench.numerics.resampling import stratified_t_ratios
from causalbench.protocols import Estimator
from causalbench.values import Fit, Interval, MethodCard, Uncertainty


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterBootstrap:
    r"""Bootstrap-t of the linearised estimator: clusters, or units, are drawn again with what each contributes.

    .. math:: p(\tau) = \frac1B \#\{b : |t^*_b| \ge |\hat\tau - \tau| / \widehat{se}\},
        \qquad \widehat{se}^2 = \sum_g (\psi_g - \bar\psi)^2

    with :math:`\psi_g` the contributions of a cluster, and every draw divided by its own standard error (Cameron, Gelbach,
    Miller 2008). Clusters in which all units have one treatment are drawn within the arms, as many as there are; where
    clusters hold both, all are drawn together. The data are one of the draws. No draw fits anything again, so that none
    is left without a treated unit, and 10,000 draws take a fraction of a second.

    Parameters
    ----------
    n_draws
        Number of draws, the data themselves among them.

    Notes
    -----
    Assumptions: clusters are independent draws. Don't use it for matching, which isn't smooth in the data (Abadie, Imbens 2008).

    Raises
    ------
    RefusalError
        With fewer than five clusters on a side, or when the estimator has no influence function.
    """

    n_draws: Annotated[int, Field(ge=100)] = 10_000

    card: ClassVar[MethodCard] = MethodCard(
        title="Cluster bootstrap of contributions (cluster-bootstrap)",
        summary="Clusters are drawn again, with what each contributes to the estimate; each draw has its own error.",
        equation=r"p(\tau) = \frac{1}{B} \# \left\{ b : |t^*_b| \geq |\hat\tau - \tau| / \widehat{\mathrm{se}} \right\}",
        std_error="root of the summed squared contributions of clusters about their mean",
        assumptions=("Clusters, or units without clusters, are independent draws from one population.",),
        not_when=("Fewer than five clusters on a side.", "Matching."),
        edge_cases=(
            "Clusters that lie in one arm each are drawn within arms, others all together.",
            "A standard error of zero gives no interval and no p-value.",
        ),
        references=(
            (
                "Cameron, Gelbach, Miller (2008), Review of Economics and Statistics 90, 414-427",
                "https://doi.org/10.1162/rest.90.3.414",
            ),
            (
                "Abadie, Imbens (2008), Econometrica 76, 1537-1557 (not for matching)",
                "https://doi.org/10.3982/ECTA6474",
            ),
        ),
    )

    def infer(
        self, estimator: Estimator[CrossSection], data: CrossSection, fit: Fit, *, level: float, rng: Generator
    ) -> Uncertainty:
        """Return interval and p-value from the same draws."""
        scores = _units.cluster_sums(data, _units.influence_of(fit))
        _units.require_clusters(data)
        counts = np.bincount(data.cluster_codes[data.treatment], minlength=data.n_clusters)
        mixed = ((counts > 0) & (counts < np.bincount(data.cluster_codes, minlength=data.n_clusters))).any()
        strata = np.zeros(data.n_clusters, dtype=np.int64) if mixed else (counts > 0).astype(np.int64)
        std_error, ratios = stratified_t_ratios(scores, strata, n_drawn=self.n_draws - 1, rng=rng)
        if _units.is_perfect(data, fit, std_error):
            return _wald.not_computed()
        sizes = np.sort(np.abs(ratios))[::-1]
        # The data are one of the draws that are at least as extreme, whatever the effect.
        needed = needed_draws(level, self.n_draws) - 1
        reach = float(sizes[needed - 1]) * std_error if needed > 0 else np.inf
        own = abs(fit.effect) / std_error
        return Uncertainty(
            interval=Interval(segments=((fit.effect - reach, fit.effect + reach),), level=level, kind="confidence"),
            p_value=float(1 + (sizes >= own).sum()) / self.n_draws,
            std_error=std_error,
            detail={"n_draws": self.n_draws},
        )
