"""The ratio that placebo tests rank: how large the gap is after the launch, relative to before."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_PERFECT = 1e-8


def rmspe_ratio(gap: NDArray[np.float64], n_pre: int, *, spread: float) -> float | None:
    """Return the root mean squared gap after over before the launch; None where the fit before is perfect.

    Parameters
    ----------
    gap
        Observed less counterfactual, shape (n_periods,).
    n_pre
        Number of periods before the launch.
    spread
        Standard deviation of the observed series: a gap before of less than 1e-8 of it is rounding, not a gap.

    Examples
    --------
    >>> import numpy as np
    >>> rmspe_ratio(np.array([1.0, -1.0, 3.0]), 2, spread=5.0)
    3.0
    """
    before, after = float((gap[:n_pre] ** 2).mean()), float((gap[n_pre:] ** 2).mean())
    if before <= (_PERFECT * spread) ** 2:
        return None
    return math.sqrt(after / before)
