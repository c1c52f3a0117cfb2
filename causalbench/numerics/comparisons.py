"""Which cohort is compared with whom, when, and against which base period: the cells of group-time effects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]

Control = Literal["never_treated", "not_yet_treated"]
BasePeriod = Literal["varying", "universal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One comparison.

    Attributes
    ----------
    cohort
        Number of the treated cohort.
    period, base
        Index of the period of interest and of the period it is compared with.
    controls
        Numbers of the cohorts that serve as controls.
    event_time
        Periods since the cohort's launch.
    """

    cohort: int
    period: int
    base: int
    controls: tuple[int, ...]
    event_time: int


def comparisons(
    first_treated: IntArray, n_periods: int, *, control: Control, anticipation: int, base_period: BasePeriod
) -> list[Cell]:
    """List the cells that can be compared, by cohort and period (Callaway, Sant'Anna 2021, sections 2.3 and 4).

    From the launch on, the base is the last period before it and its anticipation. Before, ``varying`` compares with the
    previous period and ``universal`` with that same base. Controls not yet treated are those whose own launch, less
    anticipation, lies after both periods.

    Parameters
    ----------
    first_treated
        Index of each cohort's first treated period, ascending; ``n_periods`` for units never treated.
    n_periods
        Number of periods.
    anticipation
        Number of periods before a launch that may react.

    Returns
    -------
    list of Cell
        Without the base period itself, cohorts that have no base, and cells without any control.
    """
    cells = []
    for cohort, launch in enumerate(first_treated.tolist()):
        reference = launch - 1 - anticipation
        if launch >= n_periods or reference < 0:
            continue
        for period in range(n_periods):
            before = period < launch and base_period == "varying"
            base = period - 1 if before else reference
            if base < 0 or period == base:
                continue
            latest = max(period, base) + anticipation
            controls = tuple(
                other
                for other, start in enumerate(first_treated.tolist())
                if start >= n_periods or (control == "not_yet_treated" and start > latest and other != cohort)
            )
            if controls:
                cells.append(
                    Cell(cohort=cohort, period=period, base=base, controls=controls, event_time=period - launch)
                )
    return cells
