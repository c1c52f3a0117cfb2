"""Restricted wild cluster bootstrap: residuals under the hypothesis change sign, cluster by cluster."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.random import Generator

from causalbench.data.panel import Panel
from causalbench.errors import RefusalError
from causalbench.inference import _wald
from causalbench.numerics.covariance import arms
from causalbench.numerics.inversion import needed_draws
from causalbench.numerics.wild_bootstrap import cluster_weights, enumerates, wild_test
from causalbench.protocols import ComparesChanges, Estimator
from causalbench.values import Fit, Interval, MethodCard, Uncertainty

_DRAWN = 9_999
_WEBB_BELOW = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Wild:
    r"""Bootstrap-t test with the hypothesis imposed, inverted exactly.

    The t ratio with CRV1 is compared with those of samples whose restricted residuals
    :math:`\tilde u_{it}(\tau)`, from the regression with the effect held at :math:`\tau`, are multiplied by one random
    weight per cluster (Cameron, Gelbach, Miller 2008; Roodman, MacKinnon, Nielsen, Webb 2019):

    .. math:: p(\tau) = \frac1B \#\{b : |t^*_b(\tau)| \ge |t(\tau)|\}.

    Weights are Rademacher's, enumerated up to a common sign below 15 clusters, else 9,999 are drawn; with fewer than 12
    clusters 9,999 of Webb's six-point weights are drawn. The data themselves count among the draws. Each draw's
    comparison is a polynomial of degree four in :math:`\tau`, so the set of effects with :math:`p > \alpha` is found from
    its roots, without a grid.

    With few **treated** clusters it hardly ever rejects, however many there are in all (MacKinnon, Webb 2018),
    so fewer than five treated or control clusters are refused.

    Raises
    ------
    RefusalError
        With fewer than five treated or five control clusters, or when the estimator's effect isn't a difference of means.
    """

    card: ClassVar[MethodCard] = MethodCard(
        title="Restricted wild cluster bootstrap (wild)",
        summary="How often is the t ratio this large when the clusters' errors under the hypothesis change sign at random?",
        equation=r"p(\tau) = \frac{1}{B} \# \{ b : |t^*_b(\tau)| \geq |t(\tau)| \}, \quad "
        r"y^*_{it} = \tau D_{it} + \tilde\alpha_i + \tilde\lambda_t + v_{g(i)} \tilde u_{it}(\tau)",
        std_error="CRV1 inside the t ratio, none reported; the interval holds every constant effect that isn't rejected",
        assumptions=("Clusters are independent of each other.", "Several clusters on both sides."),
        not_when=("Fewer than five treated or five control clusters: it hardly ever rejects.",),
        edge_cases=(
            "Below 12 clusters Webb's six-point weights, 9,999 draws; else Rademacher, enumerated below 15 clusters.",
            "Sets may be unbounded or in several segments.",
            "A perfect fit gives no interval and no p-value.",
        ),
        references=(
            (
                "Cameron, Gelbach, Miller (2008), Review of Economics and Statistics 90, 414-427",
                "https://doi.org/10.1162/rest.90.3.414",
            ),
            (
                "Roodman, MacKinnon, Nielsen, Webb (2019), Stata Journal 19, 4-60",
                "https://doi.org/10.1177/1536867X19830877",
            ),
            ("MacKinnon, Webb (2018), Econometrics Journal 21, 114-135", "https://doi.org/10.1111/ectj.12107"),
        ),
    )

    def infer(self, estimator: Estimator[Panel], data: Panel, fit: Fit, *, level: float, rng: Generator) -> Uncertainty:
        """Return the p-value and the set inverted from the same draws."""
        _wald.require_clusters(data, what="wild bootstraps", inferences=estimator.inferences)
        if not isinstance(estimator, ComparesChanges):
            raise RefusalError(
                f"{type(estimator).__name__} isn't a difference of means that a restriction could be put on"
            )
        sides = arms(data.ever_treated, weights=data.weights, codes=data.cluster_codes, n_clusters=data.n_clusters)
        changes = estimator.changes(data)
        std_error = math.sqrt(float(sides.covariance(sides.influence(changes[:, None]), "CRV1")[0, 0]))
        if _wald.is_perfect(data, fit, std_error):
            return _wald.not_computed()
        n, scheme = data.n_clusters, {"few": _WEBB_BELOW, "enumerated": _DRAWN + 1}
        test = wild_test(changes, sides, cluster_weights(n, **scheme, n_drawn=_DRAWN, rng=rng))
        segments = test.found.segments(needed_draws(level, test.n_draws))
        warnings = []
        if not np.isfinite(segments).all():
            warnings.append("unbounded: at distant effects the test doesn't reject")
        return Uncertainty(
            interval=Interval(segments=segments, level=level, kind="confidence"),
            p_value=test.found.count(0.0) / test.n_draws,
            detail={
                "n_draws": test.n_draws,
                "exact": enumerates(n, **scheme),
                "cluster_weights": "webb" if n < _WEBB_BELOW else "rademacher",
                "smallest_p": test.smallest,
            },
            warnings=tuple(warnings),
        )
