"""What tests along time share: how persistent the gap before the launch may be before their size fails."""

from __future__ import annotations

from causalbench.data.panel import Panel
from causalbench.errors import RefusalError
from causalbench.numerics.persistence import persistence, persistence_limit
from causalbench.values import Fit


def require_memory(data: Panel, fit: Fit, test: str) -> float:
    """Return the estimated persistence of the gap before the launch, refusing more than a test can take.

    Raises
    ------
    RefusalError
        With the reason and what to do instead.
    """
    found = persistence(fit.path.effect[: data.n_pre], scale=float(fit.path.observed.std()))
    limit = persistence_limit(test, data.n_pre, data.n_post)
    if found <= limit:
        return found
    raise RefusalError(
        f"the gap before the launch is too persistent for {test}: autocorrelation {found:.2f}, where at most {limit:.2g} "
        f"keeps a nominal 10% test at 11% with {data.n_pre} periods before and {data.n_post} after the launch",
        code="CB-D015",
        remedy="use an inference of the method that doesn't compare periods (placebo-rank, refined-placebo, posterior)"
        + ("" if test != "conformal, iid" else ', or scheme = "blocks"')
        + "; or sum periods into longer ones",
    )
