"""The incremental return's confidence set: every return that the same t test of response less return times cost keeps."""

from __future__ import annotations

from typing import Any

from causalbench.numerics.covariance import t_quantile, t_tail
from causalbench.numerics.ratio_sets import fieller_set, ratio_statistic
from causalbench.values import FloatArray, Interval

UNBOUNDED = (
    "the incremental cost doesn't differ from zero at this level, so that the set of incremental returns isn't bounded"
)


def return_set(
    response: float, cost: float, covariance: FloatArray, *, level: float, df: float, hurdle: float | None
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return ``iroas_interval`` (and ``hurdle``) for ``detail``, and warnings.

    Parameters
    ----------
    response, cost
        Estimated response and cost of the launch; the cost isn't zero.
    covariance
        Of both, shape (2, 2); zero for a cost that is known.
    level, df
        Of the t test.
    hurdle
        The return to beat; the probability of more is a t's with the parameters' prior flat.
    """
    segments = fieller_set(response, cost, covariance, quantile=t_quantile(level, df))
    found = Interval(segments=segments, level=level, kind="confidence")
    detail: dict[str, Any] = {"iroas_interval": found}
    if hurdle is not None:
        # Where cost fell (a holdback) a larger return makes the difference smaller.
        statistic = ratio_statistic(response, cost, covariance, ratio=hurdle) * (1 if cost > 0 else -1)
        detail["hurdle"] = {"iroas": hurdle, "probability": t_tail(-statistic, df)}
    bounded = found.lower is not None and found.upper is not None
    return detail, () if bounded else (UNBOUNDED,)
