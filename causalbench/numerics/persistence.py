"""How strongly a series remembers its past: what decides whether tests along time hold their size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_ROUNDING = 1e-8

LONG_HISTORY = 6
"""From this many times the post period on, a history is long."""

LIMITS = {
    "conformal, blocks": (0.6, 0.75),
    "conformal, iid": (0.2, 0.2),
    "t-test": (0.6, 0.75),
    "placebo-in-time": (0.5, 0.75),
    "predictive-t": (0.7, 0.9),
}
"""Estimated persistence above which a test along time is refused, with a short and with a long history.

From ``benchmarks/inference_sizes.py``: with these limits a nominal 10% test answers and rejects in at most 11% of draws
without an effect and two Monte Carlo errors, at 32 / 8, 45 / 15, 90 / 15 and 180 / 14 periods before / after the launch and
true autocorrelations 0, .5, .8. Estimates lie below the truth, the more the shorter the history, as donor weights are
fitted to the same gap: at .8 their median is .58, .65, .72 and .75. Draws that look less persistent than they are answer,
and reject more often than all draws do; the table has that share as well. The limits of ``predictive-t``, which counts
persistence in and needs them only where it is hard to tell from a short history, are from ``benchmarks/geo_estimator_sizes.py``.
"""


def persistence_limit(test: str, n_pre: int, n_post: int) -> float:
    """Return the largest estimated persistence that a test along time takes with these numbers of periods."""
    short, long = LIMITS[test]
    return long if n_pre >= LONG_HISTORY * n_post else short


def persistence(series: FloatArray, *, scale: float = 0.0) -> float:
    r"""Return the first autocorrelation of a series, corrected for the bias of a short one.

    Least squares of :math:`u_t` on :math:`u_{t-1}`, both about their means, is too small by about
    :math:`(1 + 3\rho) / T` (Kendall 1954, Biometrika 41, 403-404), which is added back.

    Parameters
    ----------
    series
        Shape (n_periods,), at least three.
    scale
        Spread of the data behind it: a series that varies by less than 1e-8 of it is rounding, which remembers nothing.

    Returns
    -------
    float
        Between -1 and 1; 0 for a series that never varies.

    Examples
    --------
    >>> import numpy as np
    >>> persistence(np.array([0.0, 1.0, 2.0, 3.0, 4.0]))
    1.0
    """
    now, before = series[1:] - series[1:].mean(), series[:-1] - series[:-1].mean()
    square = float(before @ before)
    if square <= len(series) * (_ROUNDING * scale) ** 2:
        return 0.0
    raw = float(now @ before) / square
    return float(np.clip(raw + (1 + 3 * raw) / len(series), -1.0, 1.0))
