r"""Two changes at once: main effects and interaction of a 2 x 2 experiment over markets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from causalbench.errors import RefusalError, StudyError, listing, nearest
from causalbench.geo.multiplicity import Contrast


def factorial(names: Sequence[str], factors: Mapping[str, Sequence[str]]) -> tuple[Contrast, ...]:
    r"""Return main effects and interaction as contrasts of the cells' effects against the cell with neither change.

    With :math:`\tau_A, \tau_B, \tau_{AB}` the effects of the cells with the first change, the second, and both,

    .. math:: \text{main}_A = \tfrac12 (\tau_A + \tau_{AB} - \tau_B), \quad
        \text{main}_B = \tfrac12 (\tau_B + \tau_{AB} - \tau_A), \quad
        \text{interaction} = \tau_{AB} - \tau_A - \tau_B

    (Box, Hunter, Hunter 2005, chapter 5; the interaction is the difference of one change's effect with and without the
    other). For ``did`` they are the usual differences of cell means. A main effect is the mean of a change's effect with and
    without the other: where the interaction isn't nil, neither says what one change does alone.

    Parameters
    ----------
    names
        Of the treated cells, in order.
    factors
        For each of the two changes, the cells where it is on.

    Raises
    ------
    StudyError
        For cells that don't exist.
    RefusalError
        Where the cells aren't the three combinations of two changes besides the controls.

    Examples
    --------
    >>> effects = factorial(("ads", "mail", "both"), {"ads": ("ads", "both"), "mail": ("mail", "both")})
    >>> [(c.name, c.weights.tolist()) for c in effects]
    [('ads', [0.5, -0.5, 0.5]), ('mail', [-0.5, 0.5, 0.5]), ('ads x mail', [-1.0, -1.0, 1.0])]
    """
    problems = [
        f"factor {factor!r} is on in cell {cell!r}, which doesn't exist{nearest(cell, names)}; cells are {', '.join(names)}"
        for factor, cells in factors.items()
        for cell in cells
        if cell not in names
    ]
    if problems:
        raise StudyError(problems, where="[geo.test] factors")
    on = {factor: tuple(name in cells for name in names) for factor, cells in factors.items()}
    combinations = list(zip(*on.values(), strict=True))
    wanted = {(True, False), (False, True), (True, True)}
    if len(factors) != 2 or len(names) != 3 or set(combinations) != wanted:
        raise RefusalError(
            f"a factorial readout needs two factors and three treated cells: the first alone, the second alone, and both; "
            f"found factors {listing(factors)} and cells {listing(names)}",
            remedy="say under [geo.test] factors in which cells each of two factors is on",
        )
    first, second = factors
    at = {combination: i for i, combination in enumerate(combinations)}
    places = [at[True, False], at[False, True], at[True, True]]
    weights, moves = np.zeros((3, 3)), np.zeros((3, 3))
    weights[:, places] = [[0.5, -0.5, 0.5], [-0.5, 0.5, 0.5], [-1.0, -1.0, 1.0]]
    moves[:, places] = [[1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [-0.5, -0.5, 0.0]]  # rows of the transposed inverse
    titles = (first, second, f"{first} x {second}")
    return tuple(Contrast(name=title, weights=weights[i], move=moves[i]) for i, title in enumerate(titles))
