"""Normal interval from the influence function of an estimator on a cross-section."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from numpy.random import Generator

from causalbench.data.cross_section import CrossSection
from causalbench.inference import _units
from causalbench.protocols import Estimator
from causalbench.values import Fit, MethodCard, Uncertainty


@dataclass(frozen=True, slots=True, kw_only=True)
class Influence:
    r"""Interval from what each unit contributes to the error of the estimate.

    .. math:: \hat\tau \pm z_{1-\alpha/2}\, \widehat{se}, \qquad
        \widehat{se}^2 = \frac{G}{G - 1} \sum_g \Big(\sum_{i \in g} \psi_i\Big)^2

    With clusters contributions are summed within them and the quantile is Student's with G - 1 degrees of freedom;
    without, every unit is a group of its own, the factor is left out and the quantile is normal.

    Notes
    -----
    Assumptions: clusters, or units, are independent draws, and many. Don't use it with few clusters, or where a handful of
    units carries the weight: the effective number of controls counts, not their number.

    Raises
    ------
    RefusalError
        With fewer than five clusters, or units, on a side; or when the estimator has no influence function.
    """

    card: ClassVar[MethodCard] = MethodCard(
        title="Influence function (influence)",
        summary="The spread of what each unit contributes to the estimate; summed within clusters where there are any.",
        equation=r"\hat\tau \pm z_{1-\alpha/2} \, \widehat{\mathrm{se}}, \quad "
        r"\widehat{\mathrm{se}}^2 = \tfrac{G}{G - 1} \sum_g \Big(\sum_{i \in g} \psi_i\Big)^2",
        std_error="root of the summed squared contributions; with clusters Student's quantile with G - 1",
        assumptions=("Clusters, or units without clusters, are independent draws from one population.",),
        not_when=(
            "Few clusters: use the cluster bootstrap.",
            "A handful of units carries the weight: look at the effective number of controls.",
        ),
        edge_cases=("A standard error of zero gives no interval and no p-value.",),
        references=(
            ("Hahn (1998), Econometrica 66, 315-331", "https://doi.org/10.2307/2998560"),
            (
                "Chernozhukov et al. (2018), Econometrics Journal 21, C1-C68, theorem 5.1",
                "https://doi.org/10.1111/ectj.12097",
            ),
        ),
    )

    def infer(
        self, estimator: Estimator[CrossSection], data: CrossSection, fit: Fit, *, level: float, rng: Generator
    ) -> Uncertainty:
        """Return interval and p-value; ``rng`` isn't used."""
        rows = _units.influence_of(fit)
        _units.require_clusters(data)
        if data.cluster is None:
            return _units.normal(data, fit, float(rows @ rows), df=math.inf, level=level)
        sums, n = _units.cluster_sums(data, rows), data.n_clusters
        return _units.normal(data, fit, n / (n - 1) * float(sums @ sums), df=n - 1.0, level=level)
