"""What inferences on a comparison at one time share: refusals, and the interval with its p-value."""

from __future__ import annotations

import math

import numpy as np

from causalbench.data.cross_section import CrossSection
from causalbench.errors import RefusalError
from causalbench.inference import _wald
from causalbench.protocols import FEW_CLUSTERS
from causalbench.values import Fit, FloatArray, Uncertainty

_NO_SPREAD = 1e-12


def influence_of(fit: Fit) -> FloatArray:
    """Return each unit's contribution to the error, shape (n,).

    Raises
    ------
    RefusalError
        For estimators without, such as matching, which isn't smooth in the data.
    """
    if fit.influence is None:
        raise RefusalError(
            "this method has no influence function: a match changes by leaps",
            code="CB-D015",
            remedy='use inference = "abadie-imbens"',
        )
    return fit.influence


def require_clusters(data: CrossSection) -> None:
    """Refuse fewer than five clusters, or units, with or without treatment."""
    if min(data.n_treated_clusters, data.n_control_clusters) >= FEW_CLUSTERS:
        return
    kind = "units" if data.cluster is None else "clusters"
    raise RefusalError(
        f"errors of an influence function need {FEW_CLUSTERS} {kind} with and {FEW_CLUSTERS} without the treatment, "
        f"the data have {data.n_treated_clusters} and {data.n_control_clusters}",
        code="CB-D015",
        remedy=f"add {kind}; with so few no method here has an honest error",
    )


def cluster_sums(data: CrossSection, rows: FloatArray) -> FloatArray:
    """Return the contributions of clusters, shape (n_clusters,)."""
    sums: FloatArray = np.bincount(data.cluster_codes, rows, minlength=data.n_clusters).astype(float)
    return sums


def is_perfect(data: CrossSection, fit: Fit, std_error: float) -> bool:
    """Tell whether a standard error is rounding, not a spread."""
    return std_error <= _NO_SPREAD * max(abs(fit.effect), float(np.abs(data.outcome).max()))


def normal(data: CrossSection, fit: Fit, variance: float, *, df: float, level: float) -> Uncertainty:
    """Return interval and p-value of a t test, of a normal one with infinite degrees of freedom."""
    std_error = math.sqrt(variance)
    if is_perfect(data, fit, std_error):
        return _wald.not_computed()
    interval, p_value = _wald.wald_interval(fit.effect, std_error, df, level)
    detail = {"df": df} if math.isfinite(df) else {}
    return Uncertainty(interval=interval, p_value=p_value, std_error=std_error, detail=detail)
