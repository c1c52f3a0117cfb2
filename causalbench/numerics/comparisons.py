"""Which cohort is compared with whom, when, and against which base period: the cells of group-time effects."""

from __future__ import annotations

import math
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
        Time since the cohort's launch, in steps between periods.
    """

    cohort: int
    period: int
    base: int
    controls: tuple[int, ...]
    event_time: int


def comparisons(
    first_treated: IntArray, positions: IntArray, *, control: Control, anticipation: int, base_period: BasePeriod
) -> list[Cell]:
    """List the cells that can be compared, by cohort and period (Callaway, Sant'Anna 2021, sections 2.3 and 4).

    From the launch on, the base is the last period before it and its anticipation. Before, ``varying`` compares with the
    previous period and ``universal`` with that same base. Controls not yet treated are those whose own launch, less
    anticipation, lies after both periods.

    Parameters
    ----------
    first_treated
        Index of each cohort's first treated period, ascending; the number of periods for units never treated.
    positions
        Place of every period in time, ascending; event times and anticipation are measured on it, so that gaps count.
    anticipation
        How long before a launch units may react.

    Returns
    -------
    list of Cell
        Without the base period itself, cohorts that have no base, and cells without any control.
    """
    n_periods, at = len(positions), positions.tolist()
    launches = [at[start] if start < n_periods else math.inf for start in first_treated.tolist()]
    cells = []
    for cohort, launch in enumerate(launches):
        reference = base_of(launch, positions, anticipation)
        if math.isinf(launch) or reference < 0:
            continue
        for period in range(n_periods):
            before = at[period] < launch and base_period == "varying"
            base = period - 1 if before else reference
            if base < 0 or period == base:
                continue
            latest = at[max(period, base)] + anticipation
            controls = tuple(
                other
                for other, start in enumerate(launches)
                if math.isinf(start) or (control == "not_yet_treated" and start > latest and other != cohort)
            )
            if controls:
                event_time = int(at[period] - launch)
                cells.append(Cell(cohort=cohort, period=period, base=base, controls=controls, event_time=event_time))
    return cells


def base_of(launch: float, positions: IntArray, anticipation: int) -> int:
    """Return the index of the last period before a launch and its anticipation; -1 where there is none."""
    return int(np.searchsorted(positions, launch - anticipation)) - 1
