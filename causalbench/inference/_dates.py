"""What inferences along time ask of dates: one launch date, and a method that can be refitted to other periods."""

from __future__ import annotations

from causalbench.data.panel import Panel
from causalbench.errors import ConvergenceError, DataError, RefusalError, listing
from causalbench.protocols import Estimator
from causalbench.values import Fit


def require_one_date(data: Panel, what: str) -> None:
    """Refuse several launch dates.

    Raises
    ------
    RefusalError
        When units launch at different dates.
    """
    if len(data.cohorts) > 1:
        raise RefusalError(
            f"{what} needs one before and after, the data have {len(data.cohorts)} launch dates: {listing(data.cohorts)}",
            remedy="estimate each launch date alone, or choose an inference that refits to every unit's own date",
        )


def refit(estimator: Estimator[Panel], data: Panel, *, why: str) -> Fit:
    """Fit other periods than the user's, and say so where the method's options are bound to periods that aren't there.

    Parameters
    ----------
    estimator, data
        The method, and the periods to fit.
    why
        What the periods are, such as ``placebo-in-time puts a mock launch at 1975``.

    Raises
    ------
    RefusalError
        When the method can't be applied to these periods.
    """
    try:
        return estimator.fit(data)
    except ConvergenceError:
        raise
    except (DataError, RefusalError) as reason:
        raise RefusalError(
            f"{why}, where {type(estimator).__name__} can't be applied: {reason.message}",
            code=reason.code,
            remedy="use placebo-rank, which fits other units at the actual launch",
        ) from reason
