"""A split: which market is in which cell of a geo experiment."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from causalbench.data.panel import Panel
from causalbench.values import BoolArray, FloatArray, IntArray, frozen_array

LEFT_OUT, CONTROL = -1, 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Split:
    """Which market is in which cell.

    Attributes
    ----------
    cells
        Shape (n_units,): -1 left out, 0 control, from 1 up the treated cells in the study's order.
    strata
        Markets with the same number were randomised among each other (a pair, a stratum); -1 for markets left out. None where
        nothing was randomised.
    unit_weights
        Share of each market in its side's mean, shape (n_units,), for designs that choose weights; None: equal shares of the
        treated, and the estimator's own weights of the controls.

    Examples
    --------
    >>> import numpy as np
    >>> split = Split(cells=np.array([1, 0, 0, -1]))
    >>> split.n_cells, split.treated.tolist()
    (1, [True, False, False, False])
    """

    cells: IntArray
    strata: IntArray | None = None
    unit_weights: FloatArray | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "cells", frozen_array(self.cells, dtype=np.int64))
        for name, dtype in (("strata", np.int64), ("unit_weights", np.float64)):
            if getattr(self, name) is not None:
                array = frozen_array(getattr(self, name), dtype=dtype, shape=self.cells.shape, name=name)
                object.__setattr__(self, name, array)
        if self.cells.ndim != 1 or self.cells.min(initial=LEFT_OUT) < LEFT_OUT:
            raise ValueError("cells must be one number per market, from -1 up")

    @property
    def n_cells(self) -> int:
        """Number of treated cells."""
        return int(max(self.cells.max(initial=0), 0))

    @property
    def treated(self) -> BoolArray:
        """Which markets are in a treated cell, shape (n_units,)."""
        mine: BoolArray = self.cells > CONTROL
        return mine

    @property
    def control(self) -> BoolArray:
        """Which markets are controls, shape (n_units,)."""
        controls: BoolArray = self.cells == CONTROL
        return controls

    def panel(self, history: Panel, *, start: int, cell: int | None = None) -> Panel:
        """Return the markets of one cell (of all cells: None) and the controls, the cell's treated from index ``start`` on."""
        mine = self.treated if cell is None else self.cells == cell
        kept = history.only(units=mine | self.control)
        treated = np.zeros(kept.outcome.shape, dtype=bool)
        treated[mine[mine | self.control], start:] = True
        return replace(kept, treated=treated)
