"""What estimators with donor weights share: how few donors are too few, and which weights aren't a solution."""

from __future__ import annotations

from causalbench.errors import ConvergenceError, DataError
from causalbench.numerics.simplex import GAP_LIMIT
from causalbench.values import BoolArray

FEWEST_DONORS = 2


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
    """
    if not rel_gap <= GAP_LIMIT:
        raise ConvergenceError(
            f"the donor weights have a relative duality gap of {rel_gap:.1e}, above {GAP_LIMIT:.0e}",
            remedy="look for donors with the same series, or values many orders of magnitude apart",
        )
