"""t of a regression over units: the method's own analytic variance and degrees of freedom."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator

from causalbench.data.panel import Panel
from causalbench.errors import RefusalError
from causalbench.inference import _wald
from causalbench.inference._return import return_set
from causalbench.protocols import Estimator
from causalbench.values import Fit, MethodCard, Uncertainty


@dataclass(frozen=True, slots=True, kw_only=True)
class RegressionT:
    r"""t interval with the variance of the estimator's own regression and its residual degrees of freedom.

    .. math:: \hat\tau \pm t_{N - k,\,1-\alpha/2}\, \widehat{se}(\hat\tau)

    With a cost, which the regression takes for known, ``detail.iroas_interval`` is the same interval per unit of cost.

    Parameters
    ----------
    hurdle
        An incremental return to beat: ``detail.hurdle`` has the posterior probability of more under a flat prior, one less
        the one-sided p-value of no more.

    Notes
    -----
    Assumptions: noise is independent between units, and no unit decides alone. Don't use it with a handful of units.

    Raises
    ------
    RefusalError
        Where the estimator has no variance of its own, or no degree of freedom is left.
    """

    hurdle: float | None = None

    card: ClassVar[MethodCard] = MethodCard(
        title="t of the regression (regression-t)",
        summary="The interval of the method's own regression over units.",
        equation=r"\hat\tau \pm t_{N - k,\,1-\alpha/2} \; \widehat{\mathrm{se}}",
        std_error="the estimator's own: HC3, or one variance for all units after weighting",
        assumptions=("Noise is independent between units, and no unit decides alone.",),
        not_when=("A handful of units on either side: the residuals then say little about the noise.",),
        edge_cases=(
            "A standard error of zero gives no interval and no p-value.",
            "The incremental return's interval is that of the effect over the cost.",
        ),
        references=(
            (
                "Vaver, Koehler (2011), Measuring ad effectiveness using geo experiments, Google",
                "https://research.google/pubs/pub38355/",
            ),
        ),
    )

    def infer(self, estimator: Estimator[Panel], data: Panel, fit: Fit, *, level: float, rng: Generator) -> Uncertainty:
        """Return interval, p-value and the incremental return's interval; ``rng`` isn't used."""
        if fit.covariance is None or "df" not in fit.diagnostics:
            raise RefusalError(
                f"{type(estimator).__name__} has no variance of its own here: {len(data.units)} units leave no degree "
                "of freedom, or one of them fixes its own fit",
                code="CB-D015",
                remedy="add units, or use permutation",
            )
        std_error, df = math.sqrt(float(fit.covariance[0, 0])), float(fit.diagnostics["df"])
        if _wald.is_perfect(data, fit, std_error):
            return _wald.not_computed()
        interval, p_value = _wald.wald_interval(fit.effect, std_error, df, level)
        returns: dict[str, Any] = {}
        if fit.diagnostics.get("iroas") is not None:
            known = np.diag([std_error**2, 0.0])
            cost = float(fit.diagnostics["cost"]) / data.n_treated_cells
            returns, _ = return_set(fit.effect, cost, known, level=level, df=df, hurdle=self.hurdle)
        return Uncertainty(interval=interval, p_value=p_value, std_error=std_error, detail={"df": df, **returns})
