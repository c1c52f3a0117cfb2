r"""What the errors of a backtest say about each method, with Monte Carlo errors that count shared units and overlap.

With errors :math:`e_b`: bias :math:`\bar e`, :math:`\mathrm{rmse}^2 = \overline{e^2}`, coverage of the method's own interval,
coverage of the recalibrated one, and the effect that a two-sided test by the recalibrated interval finds in 80% of windows:
the smallest :math:`\delta` with :math:`\overline{1\{|e_b + \delta| > h_b\}} \ge .8`, for effects of both signs alike.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from causalbench.calibration.recalibrate import Scores, scores_of
from causalbench.numerics.block_error import Dependence
from causalbench.values import FloatArray

if TYPE_CHECKING:
    from causalbench.calibration.backtest import Backtest

POWER = 0.8


def leaderboard(found: Backtest) -> tuple[dict[str, Any], ...]:
    """Return one row per method, by root mean squared error, ascending.

    Keys: ``method``, ``n_placebos``, ``n_effective``; ``bias``, ``rmse``, ``own_rmse`` (of the treated units themselves),
    ``coverage`` and ``false_positive_rate`` of the method's own interval with ``n_intervals``, ``half_width`` of the
    recalibrated interval and ``nominal_half_width`` (median), ``recalibrated_coverage`` (each placebo by errors of other
    units), ``largest_error``, ``mde`` at 80% power and ``rel_mde``, its share of the treated mean; ``_mc_error`` is appended to
    a name for its Monte Carlo error. None where it wasn't computed.

    ``recalibrated_coverage`` comes to about the level by construction where units are alike: errors of the same windows set
    the bar and are held against it. It falls below where errors of a few units are unlike all others'. Whether intervals hold
    in windows to come is measured in ``benchmarks/recalibrated_coverage.py``.
    """
    return tuple(
        sorted((_row(found, method) for method in found.methods), key=lambda row: (row["rmse"], row["method"]))
    )


def _row(found: Backtest, method: str) -> dict[str, Any]:
    m = found.index(method)
    fitted = ~np.isnan(found.errors[m])
    errors, shared = found.errors[m, fitted], found.dependence.of_rows(fitted)
    scores = scores_of(found, method)
    rmse = math.sqrt(float((errors**2).mean()))
    own = errors[found.own[fitted]]
    return {
        "method": method,
        "n_placebos": len(errors),
        "n_effective": scores.n_effective,
        "bias": float(errors.mean()),
        "bias_mc_error": _finite(shared.std_error(errors)),
        "rmse": rmse,
        "rmse_mc_error": _finite(shared.std_error(errors**2) / (2 * rmse) if rmse > 0 else 0.0),
        "own_rmse": math.sqrt(float((own**2).mean())) if len(own) else None,
        **_nominal(found, m),
        **_recalibrated(found, scores, shared),
    }


def _nominal(found: Backtest, m: int) -> dict[str, Any]:
    """Return how often the method's own interval holds the truth, which is no effect."""
    measured = ~np.isnan(found.nominal_covers[m])
    if not measured.any():
        names = ("coverage", "coverage_mc_error", "false_positive_rate", "false_positive_rate_mc_error")
        return {"n_intervals": 0, "nominal_half_width": None, **dict.fromkeys(names)}
    covers = found.nominal_covers[m, measured]
    error = _share_error(found.dependence.of_rows(measured), covers, found.level)
    return {
        "n_intervals": int(measured.sum()),
        "nominal_half_width": _finite(float(np.median(found.nominal_half_widths[m, measured]))),
        "coverage": float(covers.mean()),
        "coverage_mc_error": error,
        "false_positive_rate": 1.0 - float(covers.mean()),
        "false_positive_rate_mc_error": error,
    }


def _recalibrated(found: Backtest, scores: Scores, shared: Dependence) -> dict[str, Any]:
    covers = scores.leave_unit_out(found.level, shared)
    half = scores.half_width(found.level)
    known = covers[~np.isnan(covers)]
    error = _share_error(shared.of_rows(~np.isnan(covers)), known, found.level) if len(known) else None
    mde = None if half is None else smallest_found(scores.scaled_errors, half)
    relative = None if mde is None or found.treated_mean == 0 else mde / abs(found.treated_mean)
    return {
        "half_width": half,
        "recalibrated_coverage": float(known.mean()) if len(known) else None,
        "recalibrated_coverage_mc_error": error,
        "largest_error": scores.largest,
        "mde": mde,
        "mde_mc_error": None if mde is None else scores.half_width_error(found.level),
        "rel_mde": relative,
    }


def smallest_found(errors: FloatArray, half_width: float) -> float:
    """Return the smallest effect, of either sign, that 80% of windows tell from none.

    Examples
    --------
    >>> import numpy as np
    >>> smallest_found(np.linspace(-1, 1, 101), 1.0)  # the fifth of errors below -0.6 must still lie above 1
    1.6
    """
    sizes = np.concatenate([errors, -errors])
    # |e + delta| > h on the far side of h; on the near side it would be an effect of the wrong sign.
    return round(half_width - float(np.quantile(sizes, 1.0 - POWER)), 12)


def _share_error(shared: Dependence, covers: FloatArray, level: float) -> float:
    """Return the Monte Carlo error of a share; that of its nominal value where all or none are covered."""
    error = shared.std_error(covers)
    least = math.sqrt(level * (1 - level) / shared.n_blocks)
    return max(error if math.isfinite(error) else 0.0, least if covers.min() == covers.max() else 0.0)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
