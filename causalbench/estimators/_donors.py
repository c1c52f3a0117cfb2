"""What estimators with donor weights share: how few donors are too few, which weights aren't a solution, which test fits."""

from __future__ import annotations

import math

from causalbench.data.panel import Panel
from causalbench.errors import ConvergenceError, DataError
from causalbench.numerics.persistence import persistence, persistence_limit
from causalbench.numerics.simplex import GAP_LIMIT
from causalbench.values import BoolArray, Fit, FloatArray

FEWEST_DONORS = 2
_LONG_PANEL = 40


def time_or_space(data: Panel, fit: Fit) -> str:
    """Choose a test for one launch date.

    ``conformal`` from 40 periods up, of which at most a third after the launch, where the gap before it isn't too persistent;
    else ``placebo-rank``.
    """
    if len(data.periods) < _LONG_PANEL or data.n_post * 3 > len(data.periods):
        return "placebo-rank"
    remembered = persistence(fit.path.effect[: data.n_pre], scale=float(fit.path.observed.std()))
    return (
        "conformal" if remembered <= persistence_limit("conformal, blocks", data.n_pre, data.n_post) else "placebo-rank"
    )


def require_donors(donors: BoolArray) -> None:
    """Refuse assignments, shape (n_assignments, n_units), that leave fewer than two donors.

    Raises
    ------
    DataError
        Where one does.
    """
    fewest = int(donors.sum(axis=1).min())
    if fewest < FEWEST_DONORS:
        raise DataError(
            f"{fewest} donors are left", code="CB-D017", remedy="exclude fewer donors, or add control units"
        )


def certify(rel_gap: float) -> None:
    """Refuse weights whose relative duality gap is above 1e-8.

    Raises
    ------
    ConvergenceError
        Where it is.
    DataError
        Where there is none, as no control unit varies before the launch.
    """
    if math.isnan(rel_gap):
        raise DataError(
            "the control units' outcomes don't vary before the launch, so nothing tells them apart",
            code="CB-D028",
            remedy="add control units that vary, or use did, which weights them all alike",
        )
    if not rel_gap <= GAP_LIMIT:
        raise ConvergenceError(
            f"the donor weights have a relative duality gap of {rel_gap:.1e}, above {GAP_LIMIT:.0e}",
            remedy="look for donors with the same series, or values many orders of magnitude apart",
        )


def unit_centred(series: FloatArray, window: slice) -> FloatArray:
    """Take every series about its own mean in a window of periods."""
    centred: FloatArray = series - series[:, window].mean(axis=1, keepdims=True)
    return centred
