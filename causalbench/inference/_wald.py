"""What Wald inferences share: who may use them, the interval with its p-value, and bands around an event study."""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator

from causalbench.data.panel import Panel
from causalbench.errors import RefusalError, listing
from causalbench.numerics.covariance import t_p_value, t_quantile, uniform_quantile
from causalbench.protocols import FEW_CLUSTERS
from causalbench.values import Bands, EventStudy, Fit, Interval, Uncertainty

_DRAWS = 20_000
_NO_SPREAD = 1e-12


def require_clusters(data: Panel, *, what: str, inferences: tuple[str, ...]) -> None:
    """Refuse fewer treated or control clusters than the approximation needs.

    Raises
    ------
    RefusalError
        With fewer than five treated or five control clusters.
    """
    if min(data.n_treated_clusters, data.n_control_clusters) >= FEW_CLUSTERS:
        return
    kind = "units" if data.cluster is None else "clusters"
    raise RefusalError(
        f"{what} need {FEW_CLUSTERS} treated and {FEW_CLUSTERS} control {kind}, the data have "
        f"{data.n_treated_clusters} and {data.n_control_clusters}",
        code="CB-D015",
        remedy='use permutation: inference = "permutation" under [method], or --inference permutation'
        if "permutation" in inferences
        else "choose a method with permutation inference: did for one launch date, group-time for several",
    )


def require_unit_resampling(data: Panel, *, what: str, inferences: tuple[str, ...]) -> None:
    """Refuse to leave out or redraw units where a launch date has one unit, or where units belong to clusters.

    Raises
    ------
    RefusalError
        In these cases.
    """
    starts, counts = np.unique(data.first_treated[data.ever_treated], return_counts=True)
    alone = [data.periods[start] for start in starts[counts == 1].tolist()]
    if alone:
        dates = f"one treated unit, {data.treated_units[0]}" if data.n_treated == 1 else f"one unit at {listing(alone)}"
        raise RefusalError(
            f"{what} need two treated units of every launch date, the data have {dates}: without it there is no estimate",
            code="CB-D015",
            remedy="use placebo inference, which needs one treated unit and several never treated"
            if "placebo" in inferences
            else "choose a method with placebo or permutation inference",
        )
    if data.n_clusters < len(data.units):
        raise RefusalError(
            f"{what} take unit by unit, but the units belong to clusters",
            code="CB-D015",
            remedy="sum each cluster to one unit, or choose a method with cluster inference",
        )


def is_perfect(data: Panel, fit: Fit, std_error: float) -> bool:
    """Tell whether a standard error is rounding, not a spread."""
    return std_error <= _NO_SPREAD * max(abs(fit.effect), data.largest)


def not_computed() -> Uncertainty:
    """Return what is left to say about a perfect fit."""
    warning = "not computed: the standard error is zero, as with a perfect fit or placebos that are all alike"
    return Uncertainty(interval=None, p_value=None, std_error=None, warnings=(warning,))


def wald_interval(effect: float, std_error: float, df: float, level: float) -> tuple[Interval, float]:
    """Return the interval and the p-value of one t test."""
    reach = t_quantile(level, df) * std_error
    interval = Interval(segments=((effect - reach, effect + reach),), level=level, kind="confidence")
    return interval, t_p_value(effect / std_error, df)


def event_bands(study: EventStudy | None, *, df: float, level: float, rng: Generator) -> Bands | None:
    """Return pointwise t and uniform sup-t bands from the joint covariance; None where there is none."""
    if study is None or not len(study.values) or not np.isfinite(study.covariance).all():
        return None
    widest = uniform_quantile(study.covariance, level, df=df, n_draws=_DRAWS, rng=rng)
    errors = study.std_errors
    alone = t_quantile(level, df)
    return Bands(
        level=level,
        lower=study.values - alone * errors,
        upper=study.values + alone * errors,
        uniform_lower=study.values - widest * errors,
        uniform_upper=study.values + widest * errors,
        critical_value=widest,
    )


def group_time_bands(fit: Fit, *, df: float, level: float, rng: Generator) -> dict[str, float]:
    """Return what makes uniform bands of the group-time effects: each value plus and minus this multiple of its error."""
    if fit.group_time_covariance is None:
        return {}
    widest = uniform_quantile(fit.group_time_covariance, level, df=df, n_draws=_DRAWS, rng=rng)
    return {"group_time_critical_value": widest}


def degrees_of_freedom(data: Panel, fit: Fit) -> float:
    """Return the estimator's own degrees of freedom, one less than there are clusters where it states none."""
    df = float(fit.diagnostics.get("df", data.n_clusters - 1))
    return df if not math.isnan(df) else data.n_clusters - 1.0
