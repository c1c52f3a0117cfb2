"""Inferences that compare periods before and after one date refuse panels with several."""

from __future__ import annotations

from causalbench.data.panel import Panel
from causalbench.errors import RefusalError, listing


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
