"""Normal interval with the variance of Abadie and Imbens, for matching with replacement."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from numpy.random import Generator

from causalbench.data.cross_section import CrossSection
from causalbench.errors import RefusalError
from causalbench.inference import _units
from causalbench.protocols import Estimator
from causalbench.values import Fit, MethodCard, Uncertainty


@dataclass(frozen=True, slots=True, kw_only=True)
class AbadieImbens:
    r"""Interval with the analytic variance of matching with replacement.

    .. math:: \hat\tau \pm z_{1-\alpha/2} \sqrt{\hat V}, \qquad
        \hat V_{ATT} = \frac{1}{N_1^2} \Big[\sum_{D = 1} (y_i - \hat y_i - \hat\tau)^2
            + \sum_{D = 0} (K_j^2 - K'_j)\, \hat\sigma^2_j\Big]

    where control j serves :math:`K_j` times as a match, in parts of squares :math:`K'_j`, and :math:`\hat\sigma^2_j` comes from
    its own two nearest controls (Abadie, Imbens 2006, theorem 7). The bootstrap isn't valid for matching (Abadie, Imbens 2008).

    Notes
    -----
    Assumptions: units are independent, and outcomes change smoothly with covariates.

    Raises
    ------
    RefusalError
        For estimators that don't match, or with fewer than five units on a side.
    """

    card: ClassVar[MethodCard] = MethodCard(
        title="Abadie-Imbens (abadie-imbens)",
        summary="The variance of matching, which counts how often each control is used.",
        equation=r"\hat V = \frac{1}{N_1^2} \Big[\sum_{D = 1} (y_i - \hat y_i - \hat\tau)^2"
        r" + \sum_{D = 0} (K_j^2 - K'_j) \hat\sigma^2_j\Big]",
        std_error="analytic, with outcome variances from each unit's two nearest units of its own arm",
        assumptions=("Units are independent.", "Outcomes change smoothly with covariates."),
        not_when=("Covariates whose nearest matches are still far away: look at the balance of matches.",),
        edge_cases=("Ties share a match.", "A standard error of zero gives no interval and no p-value."),
        references=(
            ("Abadie, Imbens (2006), Econometrica 74, 235-267", "https://doi.org/10.1111/j.1468-0262.2006.00655.x"),
            ("Abadie, Imbens (2008), Econometrica 76, 1537-1557", "https://doi.org/10.3982/ECTA6474"),
            ("Abadie, Imbens (2016), Econometrica 84, 781-807", "https://doi.org/10.3982/ECTA11293"),
        ),
    )

    def infer(
        self, estimator: Estimator[CrossSection], data: CrossSection, fit: Fit, *, level: float, rng: Generator
    ) -> Uncertainty:
        """Return interval and p-value; ``rng`` isn't used."""
        if fit.covariance is None:
            raise RefusalError(
                "abadie-imbens is the variance of matching, this method doesn't match",
                code="CB-D015",
                remedy='use inference = "influence"',
            )
        _units.require_clusters(data)
        return _units.normal(data, fit, float(fit.covariance[0, 0]), df=math.inf, level=level)
