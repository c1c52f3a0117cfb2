"""How strongly a series remembers its past: what decides whether tests along time hold their size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

LIMITS = {
    "conformal, blocks": 0.6,
    "conformal, iid": 0.2,
    "t-test": 0.6,
    "placebo-in-time": 0.5,
}
"""Estimated persistence above which a test along time is refused.

From ``benchmarks/inference_sizes.py``: with these limits a nominal 10% test rejects at most 11% of true nulls and two Monte
Carlo errors, at 32 / 8, 45 / 15, 90 / 15 and 180 / 14 periods before / after the launch and true autocorrelations 0, .5, .8.
Estimates lie below the truth, as donor weights are fitted to the same gap.
"""


def persistence(series: FloatArray) -> float:
    r"""Return the first autocorrelation of a series, corrected for the bias of a short one.

    Least squares of :math:`u_t` on :math:`u_{t-1}`, both about their means, is too small by about
    :math:`(1 + 3\rho) / T` (Kendall 1954, Biometrika 41, 403-404), which is added back.

    Parameters
    ----------
    series
        Shape (n_periods,), at least three.

    Returns
    -------
    float
        Between -1 and 1; 0 for a series that never varies.

    Examples
    --------
    >>> import numpy as np
    >>> round(persistence(np.cumsum(np.random.default_rng(0).standard_normal(200))), 2)
    1.0
    """
    now, before = series[1:] - series[1:].mean(), series[:-1] - series[:-1].mean()
    square = float(before @ before)
    if square == 0:
        return 0.0
    raw = float(now @ before) / square
    return float(np.clip(raw + (1 + 3 * raw) / len(series), -1.0, 1.0))
