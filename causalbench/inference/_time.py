"""What tests along time share: how persistent the gap before the launch may be before their size fails."""

from __future__ import annotations

from causalbench.data.panel import Panel
from causalbench.errors import RefusalError
from causalbench.numerics.persistence import LIMITS, persistence
from causalbench.values import Fit


def require_memory(data: Panel, fit: Fit, test: str) -> float:
    """Return the estimated persistence of the gap before the launch, refusing more than a test can take.

    Raises
    ------
    RefusalError
        With the reason and what to do instead.
    """
    found, limit = persistence(fit.path.effect[: data.n_pre]), LIMITS[test]
    if found <= limit:
        return found
    raise RefusalError(
        f"the gap before the launch is too persistent for {test}: autocorrelation {found:.2f} over {data.n_pre} periods, "
        f"at most {limit:.2g} keeps a nominal 10% test at 11% ({data.n_post} periods after the launch)",
        code="CB-D015",
        remedy="use placebo-rank or refined-placebo, which compare units instead of periods"
        + ("" if test != "conformal, iid" else ', or scheme = "blocks"')
        + "; or sum periods into longer ones",
    )
