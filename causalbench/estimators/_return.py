"""What methods with a cost share: the incremental cost and the incremental return of a fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from causalbench.data.panel import Panel

_NOTHING = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """``cost`` and ``iroas`` for ``detail``, and what the reader must know about them."""

    detail: Mapping[str, Any]
    warnings: tuple[str, ...]


def return_of(data: Panel, effect: float, cost: float | None) -> Return:
    """Divide effect by incremental cost, both per treated unit and period; without a cost there is nothing to say.

    Parameters
    ----------
    data
        The panel that both are about.
    effect, cost
        Average effect, and incremental cost, per treated unit and period.
    """
    if data.cost is None or cost is None:
        return Return(detail={}, warnings=())
    total = cost * data.n_treated_cells
    if not data.additive:
        warning = f"no incremental return: {data.metric} is a mean, a rate or a logarithm, which has no total"
        return Return(detail={"cost": total, "iroas": None}, warnings=(warning,))
    if abs(cost) <= _NOTHING * abs(data.cost).max():
        warning = "no incremental return: the launch changed nothing in what was spent"
        return Return(detail={"cost": 0.0, "iroas": None}, warnings=(warning,))
    return Return(detail={"cost": total, "iroas": effect / cost}, warnings=())
